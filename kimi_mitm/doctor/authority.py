"""Our CA: whether it is there, and whether its certificate holds today.  [I/O]"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from cryptography import x509

from kimi_mitm.doctor.finding import Finding, fault, ok, warning
from kimi_mitm.launch import bundles

_SOON = timedelta(days=30)
_START = "./scripts/proxy (its first start makes one)"


def check(confdir: str, now: datetime) -> Iterator[Finding]:
    """The certificate in mitmproxy's folder."""
    path = bundles.ca_file(confdir)
    found = bundles.certificates(bundles.read(path))
    if not found:
        what = "can't be read" if path.exists() else "is not there"
        yield fault("CA", f"no CA certificate: {path} {what}", _START)
        return
    try:
        certificate = x509.load_pem_x509_certificate(found[0])
    except ValueError:
        yield fault("CA", f"{path} holds no certificate", f"rm {path.parent}/mitmproxy-ca*; {_START}")
        return
    ends, begins = certificate.not_valid_after_utc, certificate.not_valid_before_utc
    renew = f"rm {path.parent}/mitmproxy-ca*; {_START}"
    if ends <= now:
        yield fault("CA", f"its certificate ended on {ends:%Y-%m-%d}", renew)
    elif begins > now:
        yield fault(
            "CA", f"its certificate begins on {begins:%Y-%m-%d}, by this clock later", "set the clock"
        )
    elif ends <= now + _SOON:
        yield warning("CA", f"its certificate ends on {ends:%Y-%m-%d}", renew)
    else:
        yield ok("CA", f"{path}, until {ends:%Y-%m-%d}")
