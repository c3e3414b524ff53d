"""The least that `nifiapi` needs from a JVM to be imported; for the interpreter without site-packages."""

from nifiapi.__jvm__ import JvmHolder


class _Anything:
    def __getattr__(self, _name):
        return _Anything()

    def __call__(self, *_):
        return self


JvmHolder.jvm = _Anything()
JvmHolder.gateway = _Anything()
