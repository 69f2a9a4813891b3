"""A notification's bytes, before anybody believes a word of them: strict JSON, and why it is refused."""

import json
from decimal import Decimal
from typing import Any, Literal, Never, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from contracts import decimals_of

MAX_BYTES = 1024 * 1024

Fault = Literal["signature", "age", "form", "test", "network", "currency"]
"""`network`: real money told to a test network, or test money told to the real one."""


class NoticeRefused(ValueError):
    """The notification is no money: nobody vouches for it, or it is not about ours."""

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(f"{text} ({fault})")
        self.fault: Fault = fault


class Told(BaseModel):
    """Part of a service's object. Fields are exactly of their types; those that we do not know are passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


T = TypeVar("T", bound=Told)


def document(body: bytes) -> dict[str, Any]:
    """The JSON object, its fractions as Decimal. Raises NoticeRefused."""
    if len(body) > MAX_BYTES:
        raise NoticeRefused("form", f"{len(body)} bytes are more than a notification has")
    try:
        found = json.loads(body, object_pairs_hook=_once, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise NoticeRefused("form", f"no JSON object: {error}") from None
    if type(found) is not dict:
        raise NoticeRefused("form", "no JSON object")
    return found


def told(kind: type[T], fields: Any) -> T:
    """The object. Raises NoticeRefused with the first field that is not as the service describes it."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise NoticeRefused("form", f"{kind.__name__}.{where}: {first['msg']}") from None


def asset_of(currency: str) -> str:
    """`eur` to `EUR.bank`. Raises NoticeRefused."""
    asset = f"{currency.upper()}.bank"
    try:
        decimals_of(asset)
    except LookupError:
        raise NoticeRefused("currency", f"{currency.upper()[:10]} is no currency of this network") from None
    return asset


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_number(text: str) -> Never:
    raise ValueError(f"{text} is no number")
