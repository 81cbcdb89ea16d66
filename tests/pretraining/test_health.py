import pytest

import atst
from atst.pretraining.health import Health

SMALL = ["batch_size=16", "segment_seconds=0.3", "min_seconds=0.3", "checkpoint_minutes=0", "max_steps=61"]


def pretrain(out, *more):
    atst.pretrain(
        ["synthetic:100"], out=out, recipe="nano-paper", overrides=[*SMALL, *more], workers=0, device="cpu"
    )


def test_a_run_made_to_collapse_is_told_so_once_with_what_to_change(tmp_path, capsys):
    pretrain(tmp_path / "run", "learning_rate=0.5", "warmup_steps=5")
    printed = capsys.readouterr().err
    assert printed.count("collapsing") == 1
    assert "lower learning_rate" in printed
    assert "report.html" in printed


@pytest.mark.full
def test_a_healthy_run_is_silent(tmp_path, capsys):
    pretrain(tmp_path / "run", "learning_rate=2e-3", "warmup_steps=5")
    assert "warning" not in capsys.readouterr().err


def test_low_rank_is_collapse_even_when_the_output_std_is_high():
    health = Health()
    warnings = [health.update(0.06, 1.5 if step % 20 == 0 else None) for step in range(100)]
    assert sum(warning is not None for warning in warnings) == 1
