"""What everything writes with: text, tables, HTML reports, atomic files, progress."""
