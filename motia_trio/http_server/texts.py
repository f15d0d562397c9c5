"""Names and values of forms and queries, and the charset of a text. Pure."""

from __future__ import annotations

import codecs
import re
from email.message import Message as MimeHeader
from typing import Any
from urllib.parse import parse_qsl

from motia_trio.data import Data

__all__ = ["charset_of", "pairs_of"]

# names and values of one text; whoever sends more wants them to be read for a long time
_PAIRS = 10_000

# what texts are written in; Python has codecs beside these that are slow, or no charset at all
_CHARSETS = re.compile(r"utf-?\d+|ascii|iso8859|latin|cp125|koi8|big5|gb|euc|shift|windows")


def pairs_of(text: str, *, errors: str) -> Data:
    """Names and values of a query or form: str, or a list where a name is repeated.

    Raises:
        ValueError: with ``errors="strict"``, what is percent-encoded is no UTF-8.
        ValueError: there are more than 10,000; a head has no room for so many.
    """
    pairs: dict[str, Any] = {}
    for name, value in parse_qsl(
        text, keep_blank_values=True, errors=errors, max_num_fields=_PAIRS
    ):
        if name not in pairs:
            pairs[name] = value
        elif isinstance(pairs[name], list):
            pairs[name].append(value)
        else:
            pairs[name] = [pairs[name], value]
    return Data(pairs)


def charset_of(content_type: str) -> str:
    """The charset of a content type, UTF-8 where it says none.

    Raises:
        LookupError: nobody writes text in it.
    """
    if "charset" not in content_type.lower():
        return "utf-8"
    header = MimeHeader()
    header["content-type"] = content_type
    name = codecs.lookup(header.get_content_charset("utf-8")).name
    if not _CHARSETS.match(name):
        raise LookupError(f"not a charset for text: {name}")
    return name
