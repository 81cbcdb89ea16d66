"""XML that programs wrote: a tree of elements, without the tricks that XML allows.

The standard library's parser opens no external entity; a file that declares entities of its own, which can
be made to swell without bound, is refused before it is parsed.
"""

from xml.etree import ElementTree

from atst.events.event import Refused


def parse(text: str) -> ElementTree.Element:
    """The root element. Raises `Refused`."""
    if "<!ENTITY" in text:
        raise Refused("unsafe XML", "it declares XML entities, which no annotation program does.")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise Refused("not XML", f"it is not well-formed XML ({error}).") from error
