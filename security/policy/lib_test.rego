package otmirror.lib_test

import data.otmirror.lib

# By NiFi's documentation of time periods, and by hand.
test_milliseconds if {
	every text, expected in {
		"50 ms": 50,
		"1 sec": 1000,
		" 1.5 Minutes ": 90000,
		"2 hrs": 7200000,
		"1 day": 86400000,
		"1 week": 604800000,
	} {
		lib.milliseconds(text) == expected
	}
}

test_no_duration if {
	every text in ["", "1", "sec", "-1 sec", "1 fortnight", "5 nanos", "${poll}"] {
		not lib.milliseconds(text)
	}
}

test_nothing if {
	every text in ["", "0", "0 B", "0.0 sec", "00 sec"] {
		lib.nothing(text)
	}
	every text in ["1 B", "0.5 sec", "10 min"] {
		not lib.nothing(text)
	}
}

test_names_of_secrets if {
	every name in ["Password", "db_password", "PGPASSWORD", "MYSQL_PWD", "accessToken", "API Key", "x-api-key", "Authorization", "client.secret"] {
		lib.secret_name(name)
	}
	every name in ["Message Key Field", "Kafka Key", "PASSWORD_FILE", "Allow Password Without Encryption", "Keystore Type", "Tokens Per Second"] {
		not lib.secret_name(name)
	}
}
