#!/usr/bin/env bash
# Under SLURM's variables, Lightning's Trainer begins a fit that was given no checkpoint from a file hpc_ckpt_*.ckpt
# that lies in the current folder: another run's weights and step count. Neither an environment plugin of one's own
# nor SLURMEnvironment(auto_requeue=False) prevents it; another default_root_dir does.
# Exits with 1 if that is no longer so. Needs Python 3.10 or later, installs into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 pytorch-lightning==2.6.6
cd "$folder"
cat >script.py <<'PYTHON'
import logging
import os
import sys
import warnings

import pytorch_lightning as lightning
import torch
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.simplefilter("ignore")
print("torch", torch.__version__, "pytorch-lightning", lightning.__version__, "Python", sys.version.split()[0])


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.layer.weight, 0.0)
        self.first = None

    def training_step(self, batch, index):
        if self.first is None:
            self.first = (self.trainer.global_step, self.layer.weight.item())
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def fit(steps, **more):
    """The model and trainer after a fit of `steps` steps without a checkpoint given."""
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, max_steps=steps, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **more,
    )
    model = Model()
    trainer.fit(model, torch.utils.data.DataLoader(torch.ones(100, 1)))
    return model, trainer


def first_step(**more):
    return fit(10, **more)[0].first


_, trainer = fit(3)
trainer.save_checkpoint("hpc_ckpt_1.ckpt")  # what its handler of SIGUSR1 leaves under SLURM
found = {"without SLURM's variables": first_step()}
os.environ |= {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
               "SLURM_NODEID": "0", "SLURM_JOB_NAME": "another"}
found["with them"] = first_step()
found["with LightningEnvironment()"] = first_step(plugins=[LightningEnvironment()])
found["with SLURMEnvironment(auto_requeue=False)"] = first_step(plugins=[SLURMEnvironment(auto_requeue=False)])
os.mkdir("empty")
found["with default_root_dir elsewhere"] = first_step(default_root_dir="empty")
for name, (step, weight) in found.items():
    print(f"{name}: the fit begins at step {step} with weight {weight:g} (right: 0 and 0)")
steps = [step for step, _ in found.values()]
sys.exit(0 if steps == [0, 3, 3, 3, 0] else 1)
PYTHON
"$folder/venv/bin/python" script.py
