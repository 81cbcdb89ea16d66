"""The method itself: a student learns to predict what a slowly moving teacher makes of another view.

ATST (arXiv 2204.12076) section III, after BYOL: no labels and no negatives. The teacher is an
exponential moving average of the student and stays in train mode.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from atst.model.conv_encoder import STEMS
from atst.model.encoder import HEAD_OUTPUT, Block
from atst.model.moments import Moments
from atst.model.processes import at_least_float32
from atst.pretraining.heads import Head, StatisticsHead
from atst.pretraining.objectives import contrast, distance, output_std, share_of_rows
from atst.training.sharding import divide

Views = tuple[Tensor, Tensor]
Lengths = tuple[Tensor | None, Tensor | None]


class TeacherStudent(nn.Module):
    """Student (encoder, projector, predictor) and teacher (encoder, projector, without gradients).

    `size` is an encoder size, `drop_path` the stochastic depth of both networks. The rest is off in the
    paper: the stem (`patches`, `conv`, or `frame`: patches without CLS), what the projector gets (`cls` or
    `statistics`: mean and standard deviation over time of the stem and of every block), the objective (`byol`
    or `infonce`, with its temperature), the share of tokens that the student's blocks do without, and the
    share that the loss of masked frames has in the whole (ATST-Frame, arXiv 2306.04186), 1 being all of it.
    """

    def __init__(
        self,
        size: str,
        drop_path: float = 0.1,
        *,
        stem: str = "patches",
        projector_input: str = "cls",
        objective: str = "byol",
        temperature: float = 0.2,
        token_drop: float = 0.0,
        local_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.projector_input, self.objective = projector_input, objective
        self.temperature, self.token_drop, self.local_weight = temperature, token_drop, local_weight
        self.student = self._network(stem, size, drop_path)
        if local_weight < 1:
            self.student["predictor"] = (
                Head(HEAD_OUTPUT) if projector_input == "cls" else Head(HEAD_OUTPUT, StatisticsHead.HIDDEN)
            )
        if local_weight:
            self.student["frame_predictor"] = Head(HEAD_OUTPUT)
            self.student["encoder"].mask_embed.requires_grad_(True)
        self.teacher = self._network(stem, size, drop_path)
        self.copy_student()
        self.teacher.requires_grad_(False)

    @classmethod
    def from_official(cls, path: str | Path, drop_path: float = 0.1) -> "TeacherStudent":
        """Both networks of an authors' checkpoint, also of ATST-Frame, whose loss is that of masked frames.

        Raises `ModelError` for a file without them.
        """
        from atst.model import official

        checkpoint = official.read(path)
        is_frame = checkpoint.stem == "frame"
        heads = "frame_" if is_frame else ""
        pair = cls(checkpoint.size, drop_path, stem=checkpoint.stem, local_weight=float(is_frame))
        for network, state in ((pair.student, checkpoint.student), (pair.teacher, checkpoint.teacher)):
            network.load_state_dict(
                {key if key.startswith("encoder.") else heads + key: value for key, value in state.items()}
            )
        return pair

    def loss(
        self,
        view1: Tensor,
        view2: Tensor,
        lengths1: Tensor | None = None,
        lengths2: Tensor | None = None,
        masked: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of two log-mel views `(B, 64, T)` of the same clips; lengths in frames, `(B,)`.

        Mean of two cross terms, each the distance (`byol`: 0 to 4; `infonce`: in nats) between the student's
        prediction for one view and the teacher's projection of the other (ATST equations 1 and 2). `stats`
        holds the outputs `student` and `teacher` `(2B, 256)`, detached, and `output_std` of each.

        With a `local_weight` the student does not see the patches of both views where `masked` `(B, P)` is
        true; for each of them inside the lengths a projector and predictor of frames predict what the
        teacher, which sees all, makes of the same patch of the other view. Without a loss of whole clips the
        outputs are those of the masked patches.
        """
        views, lengths = (view1, view2), (lengths1, lengths2)
        student = self._encoded(self.student, views, lengths, masked, keep=1.0 - self.token_drop)
        with torch.no_grad():
            teacher = self._encoded(self.teacher, views, lengths)
        if not self.local_weight:
            return self._compared("", student, teacher)
        assert masked is not None, "local_weight needs the masked patches"
        rows = self._rows(masked, lengths)
        hidden = (tokens[:, -masked.shape[1] :][rows] for tokens in (student, teacher))
        local, stats = self._compared("frame_", *hidden)
        local = local * share_of_rows(rows, local.dtype)
        if self.local_weight == 1:
            return local, stats
        whole, stats = self._compared("", student[:, 0], teacher[:, 0])
        return (1 - self.local_weight) * whole + self.local_weight * local, stats

    def _compared(self, heads: str, student: Tensor, teacher: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss between what the encoders give of both views, one view after the other, and statistics.

        Through the heads for clips or, `frame_`, for frames.
        """
        student = self.student[f"{heads}predictor"](self.student[f"{heads}projector"](student))
        with torch.no_grad():
            teacher = self.teacher[f"{heads}projector"](teacher)
        student, teacher = at_least_float32(student), at_least_float32(teacher)  # (2B, 256)
        student1, student2 = student.chunk(2)
        teacher1, teacher2 = teacher.chunk(2)
        if self.objective == "byol" or heads:
            loss = (distance(student2, teacher1) + distance(student1, teacher2)) / 2
        else:
            t = self.temperature
            loss = (contrast(student2, teacher1, t) + contrast(student1, teacher2, t)) / 2
        with torch.no_grad():
            stats = {"student": student.detach(), "teacher": teacher}
            stats |= {"output_std_student": output_std(student), "output_std_teacher": output_std(teacher)}
        return loss, stats

    @torch.no_grad()
    def update_teacher(self, decay: float) -> None:
        """Move the teacher's encoder and projector parameters towards the student's; not its buffers."""
        torch._foreach_lerp_(self._averaged(self.teacher), self._averaged(self.student), 1.0 - decay)

    def _averaged(self, network: nn.ModuleDict) -> list[Tensor]:
        return [parameter for part in self.teacher for parameter in network[part].parameters()]

    @torch.no_grad()
    def copy_student(self) -> None:
        """Make the teacher equal to the student, as at the start of a run."""
        for part in self.teacher:
            self.teacher[part].load_state_dict(self.student[part].state_dict())

    def parameter_groups(self) -> list[dict[str, object]]:
        """Two groups for AdamW: tensors of two and more dimensions decay, biases and norms do not."""
        trained = [p for p in self.student.parameters() if p.requires_grad]
        return [
            {"params": [p for p in trained if p.ndim >= 2]},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]

    def shard(self, mesh: DeviceMesh) -> None:
        """Divide both networks over the processes of a mesh, before an optimiser is made.

        Gradients of `loss` are means over the processes, as those of `DistributedDataParallel`.
        """
        divide(self, (Block, Head), "loss", mesh)

    def _network(self, stem: str, size: str, drop_path: float) -> nn.ModuleDict:
        encoder = STEMS[stem](size, drop_path)
        parts: dict[str, nn.Module] = {"encoder": encoder}
        if self.projector_input == "statistics":
            width = 2 * (sum(encoder.stem_sizes) + encoder.depth * encoder.width)
            parts["projector"] = StatisticsHead(width)
        elif self.local_weight < 1:
            parts["projector"] = Head(encoder.width)
        if self.local_weight:
            parts["frame_projector"] = Head(encoder.width)
        return nn.ModuleDict(parts)

    def _encoded(
        self,
        network: nn.ModuleDict,
        views: Views,
        lengths: Lengths,
        masked: Tensor | None = None,
        keep: float = 1.0,
    ) -> Tensor:
        """What the heads get of both views, `(2B, ...)`: one pass when the views are equally wide."""
        encoder = network["encoder"]
        if views[0].shape == views[1].shape and (lengths[0] is None) == (lengths[1] is None):
            both = None if masked is None else _side_by_side((masked, masked))
            encoded = self._encode(encoder, _side_by_side(views), _joined(lengths, _side_by_side), both, keep)
            return torch.cat([encoded[0::2], encoded[1::2]])
        pairs = zip(views, lengths, strict=True)
        return torch.cat([self._encode(encoder, *pair, masked, keep) for pair in pairs])

    def _encode(
        self, encoder: Any, views: Tensor, lengths: Tensor | None, masked: Tensor | None, keep: float
    ) -> Tensor:
        if self.projector_input == "cls":
            tokens = encoder(views, lengths, masked=masked)[0]
            return tokens if self.local_weight else tokens[:, 0]
        levels = encoder.levels(views, lengths, layers=encoder.depth, stem=True, keep=keep)
        valid = None
        if lengths is not None:
            valid = torch.arange(levels[0].shape[1], device=lengths.device) < encoder.count(lengths)[:, None]
        return torch.cat([_statistics(tokens, valid) for tokens in levels], dim=1)

    def _rows(self, masked: Tensor, lengths: Lengths) -> Tensor:
        """Which patches of both views count, `(2B, P)`: those that are masked and inside their clip."""
        rows, joined = torch.cat([masked, masked]), _joined(lengths, torch.cat)
        if joined is None:
            return rows
        encoder: Any = self.student["encoder"]
        return rows & (torch.arange(rows.shape[1], device=rows.device) < encoder.count(joined)[:, None])


def _side_by_side(views: Views) -> Tensor:
    """Both views `(2B, ...)`, those of a clip one after the other.

    So what is drawn for the clips of a process is a stretch of what one process would draw for all.
    """
    return torch.stack(views, dim=1).flatten(0, 1)


def _joined(lengths: Lengths, join: Callable[[Views], Tensor]) -> Tensor | None:
    return None if lengths[0] is None or lengths[1] is None else join((lengths[0], lengths[1]))


def _statistics(tokens: Tensor, valid: Tensor | None) -> Tensor:
    """Mean and standard deviation over time, `(B, 2 * D)`."""
    moments = Moments.of(tokens, valid)
    return torch.cat([moments.mean, moments.std()], dim=1)
