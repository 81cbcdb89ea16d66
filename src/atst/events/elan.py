"""ELAN's .eaf: annotations by tier, between time slots in milliseconds or below other annotations."""

import math
from xml.etree.ElementTree import Element

from atst.events.event import Options, Refused, Row, Table, choose_tier
from atst.events.headed import last_part
from atst.events.text import number

Times = dict[str, tuple[float, float]]  # of annotations, by id


def read_elan(root: Element, options: Options) -> Table:
    """The annotations of one tier. Raises `Refused`."""
    units = next((head.get("TIME_UNITS", "milliseconds") for head in root.iter("HEADER")), "milliseconds")
    if units != "milliseconds":
        raise Refused("time units", f"its times are in {units}, not in milliseconds.")
    tiers = list(root.iter("TIER"))
    slots = _slots(root)
    times: Times = {}
    for tier in tiers:
        times |= _aligned(tier, slots)
    _below(tiers, times)
    rows = [(tier.get("TIER_ID", ""), _rows(tier, times)) for tier in tiers]
    media = [last_part(one.get("MEDIA_URL", "")) for one in root.iter("MEDIA_DESCRIPTOR")]
    table = Table("ELAN", choose_tier(rows, options), recordings=[name for name in media if name])
    for row in table.rows:
        if math.isnan(row.begin):
            text = f"annotation '{row.label}' refers to none that has times: align it in ELAN."
            raise Refused("time slot without value", text)
    return table


def _slots(root: Element) -> dict[str, float | None]:
    slots: dict[str, float | None] = {}
    for slot in root.iter("TIME_SLOT"):
        value = slot.get("TIME_VALUE")
        name = slot.get("TIME_SLOT_ID", "")
        slots[name] = None if value is None else number(value, f"TIME_VALUE of {name}") / 1000
    return slots


def _aligned(tier: Element, slots: dict[str, float | None]) -> Times:
    """Times of the annotations between slots; those that share slots without value are spaced evenly."""
    times: Times = {}
    chain: list[tuple[str, str]] = []  # id and end slot of annotations whose end is open so far
    begin: float | None = None
    for one in tier.iter("ALIGNABLE_ANNOTATION"):
        first, last = one.get("TIME_SLOT_REF1", ""), one.get("TIME_SLOT_REF2", "")
        if chain and first != chain[-1][1]:
            raise _open(tier, chain[-1][1])
        begin = begin if chain else slots.get(first)
        if begin is None:
            raise _open(tier, first)
        chain.append((one.get("ANNOTATION_ID", ""), last))
        end = slots.get(last)
        if end is not None:
            times |= _evenly([name for name, _ in chain], begin, end)
            chain = []
    if chain:
        raise _open(tier, chain[-1][1])
    return times


def _open(tier: Element, slot: str) -> Refused:
    text = (
        f"time slot '{slot}' of tier '{tier.get('TIER_ID')}' has no value and no neighbours that give it one."
    )
    return Refused("time slot without value", text)


def _below(tiers: list[Element], times: Times) -> None:
    """Add the times of annotations that refer to others: children share their parent's evenly, in order."""
    waiting: dict[tuple[str, str | None], list[str]] = {}  # children by their parent and tier
    for tier in tiers:
        for one in tier.iter("REF_ANNOTATION"):
            place = one.get("ANNOTATION_REF", ""), tier.get("TIER_ID")
            waiting.setdefault(place, []).append(one.get("ANNOTATION_ID", ""))
    while ready := [place for place in waiting if place[0] in times]:
        for place in ready:
            times |= _evenly(waiting.pop(place), *times[place[0]])


def _evenly(names: list[str], begin: float, end: float) -> Times:
    step = (end - begin) / len(names)
    edges = [begin + i * step for i in range(len(names))] + [end]
    return {name: (edges[i], edges[i + 1]) for i, name in enumerate(names)}


def _rows(tier: Element, times: Times) -> list[Row]:
    rows: list[Row] = []
    for kind in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
        for one in tier.iter(kind):
            begin, end = times.get(one.get("ANNOTATION_ID", ""), (math.nan, math.nan))
            label = (one.findtext("ANNOTATION_VALUE") or "").strip()
            rows.append(Row(len(rows) + 1, begin, end, label))
    return rows
