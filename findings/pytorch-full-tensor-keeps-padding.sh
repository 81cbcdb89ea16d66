#!/usr/bin/env bash
# PyTorch 2.13: the whole of a DTensor whose rows do not divide evenly (full_tensor) is a view of the padded storage
# that was gathered. torch.save writes the storage, so the file holds rows that the tensor does not have; a copy
# (clone) is written without them. Exits 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cd "$folder"
cat > shown.py <<'PYTHON'
import io
import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor


def saved(tensor):
    stream = io.BytesIO()
    torch.save(tensor, stream)
    return len(stream.getvalue())


dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))
whole = distribute_tensor(torch.randn(5, 100_000), mesh, [Shard(0)]).full_tensor()
held = whole.untyped_storage().nbytes()
if dist.get_rank() == 0:
    print("torch", torch.__version__)
    print(f"5 rows divided over 2 processes: {whole.nbytes} bytes, in a storage of {held}")
    print(f"saved: {saved(whole)} bytes; a copy: {saved(whole.clone())}")
dist.destroy_process_group()
sys.exit(0 if held > whole.nbytes and saved(whole) > 1.15 * saved(whole.clone()) else "the behaviour has changed")
PYTHON
OMP_NUM_THREADS=1 venv/bin/torchrun --standalone --nproc-per-node=2 shown.py
