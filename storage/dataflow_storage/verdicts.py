"""What a failed call to a storage means, whichever client library says it: no I/O, and no client library imported."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum

from dataflow_storage.errors import StoreUnavailable

__all__ = ["Verdict", "judge", "say", "secrets_in"]


class Verdict(Enum):
    """What to do about an error."""

    REFUSED = "the condition of a write did not hold: somebody else wrote first"
    MISSING = "there is no such object"
    BEYOND = "the range starts behind the end of the object"
    FINAL = "another try would say the same"
    AGAIN = "another try may succeed, and this one may have done its work"


_REFUSED = {"PreconditionFailed", "ConditionNotMet", "BlobAlreadyExists", "TargetConditionNotMet"}
_NO_PLACE = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName"}
_AGAIN = {
    "RequestTimeout",
    "ConditionalRequestConflict",
    "OperationAborted",
    "NoSuchUpload",
    "InternalError",
    "SlowDown",
}
_AGAIN_STATUS = {408, 409, 425, 429, 500, 502, 503, 504}
_FINAL_TYPES = (
    PermissionError,
    IsADirectoryError,
    NotImplementedError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ImportError,
)
# Errors of client libraries that have no status and no builtin base.
_FINAL_NAMES = {"NoCredentialsError", "PartialCredentialsError", "ParamValidationError", "DefaultCredentialsError"}


def judge(error: BaseException) -> Verdict:
    """Decide what an error of a storage client means.

    Parameters
    ----------
    error : BaseException
        As it was raised; its causes are looked at too.

    Examples
    --------
    >>> judge(FileExistsError()).name, judge(PermissionError()).name, judge(ConnectionResetError()).name
    ('REFUSED', 'FINAL', 'AGAIN')
    """
    code, status = _answer(error)
    if isinstance(error, FileExistsError) or status == 412 or code in _REFUSED:
        return Verdict.REFUSED
    if status == 416 or code == "InvalidRange":
        return Verdict.BEYOND
    if code in _NO_PLACE:
        return Verdict.FINAL
    if code in _AGAIN or status in _AGAIN_STATUS:
        return Verdict.AGAIN
    if isinstance(error, (FileNotFoundError, NotADirectoryError)) or status == 404:
        return Verdict.MISSING
    if status >= 400 or str(error).startswith("Forbidden"):
        return Verdict.FINAL
    if isinstance(error, json.JSONDecodeError):  # half an answer
        return Verdict.AGAIN
    if isinstance(error, _FINAL_TYPES) or type(error).__name__ in _FINAL_NAMES:
        return Verdict.FINAL
    return Verdict.AGAIN


def _answer(error: BaseException) -> tuple[str, int]:
    """The server's error code and HTTP status as far as they are known."""
    code, status = "", 0
    for each in _chain(error):
        response = getattr(each, "response", None)  # botocore
        if isinstance(response, dict):
            code = code or str(response.get("Error", {}).get("Code", ""))
            status = status or _number(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
        code = code or _text(getattr(each, "error_code", ""))  # azure
        for name in ("status_code", "status", "code"):  # azure, aiohttp, gcsfs
            status = status or _number(getattr(each, name, 0))
    return code, status


def _chain(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    for _ in range(5):
        if each is None:
            return
        yield each
        each = each.__cause__


def _number(value: object) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    return value if isinstance(value, int) and 100 <= value < 600 else 0


def _text(value: object) -> str:
    value = getattr(value, "value", value)  # an enum
    return value if isinstance(value, str) else ""


# --- what to show -----------------------------------------------------------------------------------------------------

_LONGEST = 300
_SIGNED = re.compile(r"(?i)\b(sig|signature|x-amz-[a-z-]+|x-goog-[a-z-]+|awsaccesskeyid|access_token)=[^&\s\"']+")
_LOGIN = re.compile(r"(://)[^/@\s]+@")
_SECRET = re.compile(r"(?i)key|secret|token|passw|credential|sas|connection_string|auth|username|signature|private")


def secrets_in(options: Mapping[str, object]) -> frozenset[str]:
    """The texts in storage options that must not be shown.

    Examples
    --------
    >>> sorted(secrets_in({"key": "AK12", "client_kwargs": {"aws_secret_access_key": "hush"}, "anon": False}))
    ['AK12', 'hush']
    """
    found: set[str] = set()
    for name, value in options.items():
        if isinstance(value, Mapping):
            found |= secrets_in({str(inner): each for inner, each in value.items()})
        elif isinstance(value, str) and len(value) >= 3 and _SECRET.search(name):
            found.add(value)
            for field in value.split(";"):  # a connection string
                inner, _, text = field.partition("=")
                if text and _SECRET.search(inner):
                    found.add(text)
    return frozenset(found)


def say(error: BaseException, secrets: frozenset[str] = frozenset()) -> str:
    """What an error says, in one line that shows no credentials.

    Parameters
    ----------
    error : BaseException
        Any error.
    secrets : frozenset of str
        Texts that must not be shown.

    Examples
    --------
    >>> say(OSError("refused https://u:pw@host/x?sig=abc for AK12"), frozenset({"AK12"}))
    'refused https://***@host/x?sig=*** for ***'
    """
    said = error.reason if isinstance(error, StoreUnavailable) else getattr(error, "strerror", "")
    text = said or str(error) or type(error).__name__
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _LOGIN.sub(r"\1***@", _SIGNED.sub(r"\1=***", text))
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return line if len(line) <= _LONGEST else line[:_LONGEST] + " …"
