"""Signatures of what is stored, so that a store with a key loads only what somebody with that key has written.

What is signed is the text of a JSON object, and the signature (HMAC-SHA256) is its last field. State: the key.
"""

from __future__ import annotations

import hmac

__all__ = ["UNSIGNED", "Signer"]

UNSIGNED = (
    "it is not signed with this store's key (dataflow.results.signing_key): somebody else wrote it, or with another key"
)
"""Why an object does not count, as a clause."""

_FIELD = b',"signature":"%s"}'
_LENGTH = len(_FIELD % (b"0" * 64))


class Signer:
    """Signs and checks; its key is never shown.

    Parameters
    ----------
    key : str
        Any text; its secrecy is all there is.
    kind : bytes
        What is signed, so that a signature of one kind of thing is none of another.

    Raises
    ------
    TypeError
        The key is no text.
    ValueError
        The key is empty.

    Examples
    --------
    >>> signer = Signer("hush", b"example")
    >>> text = signer.sign(b'{"a":1}')
    >>> signer.has_signed(text), Signer("other", b"example").has_signed(text), signer
    (True, False, Signer('***'))
    """

    __slots__ = ("_key", "_kind")

    def __init__(self, key: str, kind: bytes) -> None:
        if not isinstance(key, str):
            raise TypeError(f"The signing key is a {type(key).__qualname__}, and must be text: put it in quotes.")
        if not key:
            raise ValueError("The signing key is empty: give a secret text, or None for results without signatures.")
        self._key = key.encode("utf-8", "surrogatepass")
        self._kind = kind + b"\0"

    def __repr__(self) -> str:
        return "Signer('***')"

    def sign(self, text: bytes) -> bytes:
        """Add the signature to a JSON object that has a field at least."""
        return text[:-1] + _FIELD % self._signature(text)

    def has_signed(self, text: bytes) -> bool:
        """Say whether a text came from `sign`, with this key and kind, and is unchanged."""
        bare = text[:-_LENGTH] + b"}"
        return hmac.compare_digest(text[-_LENGTH:], _FIELD % self._signature(bare))

    def _signature(self, text: bytes) -> bytes:
        return hmac.digest(self._key, self._kind + text, "sha256").hex().encode()
