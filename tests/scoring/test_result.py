"""Every result says by what, where and with which command it was computed."""

import sys

import pytest
import torch

import atst
from atst.model.device import described
from atst.scoring.result import command, computed


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/opt/bin/atst", "probe", "my sounds/meta.csv"], "atst probe 'my sounds/meta.csv'"),
        (["/src/atst/__main__.py", "probe"], "atst probe"),
        ([""], "python"),
    ],
)
def test_the_command_can_be_given_again(monkeypatch, argv, expected):
    monkeypatch.setattr(sys, "argv", argv)
    assert command() == expected


def test_device_precision_and_versions_are_there():
    values = computed(described(torch.device("cpu"), 2), "bf16")
    assert values["device"].startswith("2 x cpu (")
    assert values["precision"] == "bf16"
    assert values["versions"]["atst"] == atst.__version__
    assert values["versions"]["torch"] == torch.__version__
