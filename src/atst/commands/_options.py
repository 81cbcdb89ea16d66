"""Options that several commands have."""

from typing import Annotated

from cyclopts import Parameter

Flag = Annotated[bool, Parameter(negative="")]  # given or not: there is no --no-...
Quiet = Annotated[bool, Parameter(negative="", alias="-q")]
