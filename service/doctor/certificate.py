"""TLS: do certificate and key fit each other, and until when.

The standard library reads dates of certificates only from a peer's, so two ends shake hands in
memory, of which one trusts what the other shows.
"""

from __future__ import annotations

import ssl
from typing import Any

from service.doctor.finding import Finding, note, ok, problem

_SUBJECT = "tls"
_SOON_S = 14 * 86_400.0
_MAX_TURNS = 10


class _Encrypted(Exception):
    """The key needs a password, which nobody would be there to type."""


def certificate(certfile: str | None, keyfile: str | None, now_s: float) -> Finding:
    """`now_s` is Unix time."""
    if certfile is None or keyfile is None:
        return ok(_SUBJECT, "off")
    try:
        shown = _shake_hands(certfile, keyfile)
    except _Encrypted:
        remedy = f"openssl pkey -in {keyfile} -out plain.pem, and name that one"
        return problem(_SUBJECT, f"the key {keyfile} is encrypted", remedy)
    except ssl.SSLCertVerificationError as error:
        return problem(_SUBJECT, f"{certfile}: {error.verify_message}", "get a new certificate")
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        return problem(
            _SUBJECT,
            f"--ssl-certfile, --ssl-keyfile: cannot be used together: {reason}",
            "name the PEM files of one certificate and of its own key",
        )
    ends = str(shown["notAfter"])
    names = ", ".join(name for _, name in shown.get("subjectAltName", ())) or "no name"
    text = f"on, for {names}, until {ends}"
    if ssl.cert_time_to_seconds(ends) - now_s < _SOON_S:
        return note(_SUBJECT, f"{text}: soon", "renew the certificate")
    return ok(_SUBJECT, text)


def _shake_hands(certfile: str, keyfile: str) -> dict[str, Any]:
    """The certificate as a client sees it."""
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.load_cert_chain(certfile, keyfile, password=_refuse)
    here = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    here.check_hostname = False
    here.load_verify_locations(cafile=certfile)
    here.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = there.wrap_bio(to_server, to_client, server_side=True)
    client = here.wrap_bio(to_client, to_server)
    for _ in range(_MAX_TURNS):
        ends = [_turn(client), _turn(server)]
        if all(ends):
            return dict(client.getpeercert() or {})
    raise ssl.SSLError("the handshake does not end")


def _turn(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _refuse() -> str:
    raise _Encrypted
