"""Of several tiers or layers one holds the events."""

from atst.events.event import Options, Refused, Row


def choose_tier(tiers: list[tuple[str, list[Row]]], options: Options) -> list[Row]:
    """The rows of the tier that the user names, else of the only one with any. Raises `Refused`."""
    names = ", ".join(f"'{name}' ({len(rows)})" for name, rows in tiers) or "none"
    if options.label_column is not None:
        chosen = [rows for name, rows in tiers if name == options.label_column]
        if len(chosen) == 1:
            return chosen[0]
        what = "several tiers are" if chosen else "no tier is"
        text = f"{what} called '{options.label_column}' (--label-column); there are: {names}."
        raise Refused("no such label column", text)
    filled = [rows for _, rows in tiers if rows]
    if len(filled) > 1:
        raise Refused("several tiers", f"several tiers have events: {names}; choose one by --label-column.")
    return filled[0] if filled else []
