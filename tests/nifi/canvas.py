"""A person in front of NiFi's canvas: Chromium without a window, steered by Selenium."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as seen
from selenium.webdriver.support.wait import WebDriverWait

from otmirror.embedded.browser import Browser

from .people import Person

PATIENCE = 60.0
"""Seconds for a page of a busy machine."""

_ASK = """
const done = arguments[arguments.length - 1];
fetch('/nifi-api' + arguments[0]).then(a => a.text().then(t => done([a.status, t])), e => done([0, String(e)]));
"""


@contextmanager
def chromium(browser: Browser, profile: Path, known: list[Path]) -> Iterator[webdriver.Chrome]:
    """Yield a browser that believes the servers with these certificates and no other of our authority."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(browser.chromium)
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,1000",
        f"--user-data-dir={profile}", f"--ignore-certificate-errors-spki-list={','.join(map(_pin, known))}",
    ):  # fmt: skip
        options.add_argument(flag)
    driver = webdriver.Chrome(options, Service(str(browser.driver)))
    try:
        driver.set_page_load_timeout(PATIENCE)
        driver.set_script_timeout(PATIENCE)
        yield driver
    finally:
        driver.quit()


def log_in(driver: webdriver.Chrome, canvas: str, person: Person) -> None:
    """Open the canvas, follow it to the login page, log in there and wait until it is the canvas again."""
    driver.get(canvas)
    wait = WebDriverWait(driver, PATIENCE)
    wait.until(seen.visibility_of_element_located((By.ID, "username"))).send_keys(person.name)
    driver.find_element(By.ID, "password").send_keys(person.password)
    driver.find_element(By.ID, "kc-login").click()
    wait.until(seen.url_contains(canvas))
    wait.until(
        seen.presence_of_element_located((By.CSS_SELECTOR, "#canvas-container, .canvas-container, navigation, canvas"))
    )


def ask(driver: webdriver.Chrome, path: str) -> tuple[int, str]:
    """Return status and text of a request to NiFi's REST API, as the page itself would send it."""
    status, text = driver.execute_async_script(_ASK, path)
    return int(status), str(text)


def _pin(certificate: Path) -> str:
    """Return the hash of a certificate's public key as Chromium takes it."""
    public = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()
