"""Output for all packages: text, tables, HTML reports, atomic files, locks, progress."""
