"""The method itself: a student learns to predict what a slowly moving teacher makes of another view.

ATST (arXiv 2204.12076) section III, after BYOL: no labels and no negatives. The teacher is an
exponential moving average of the student and stays in train mode.
"""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from atst.model.conv_encoder import STEMS
from atst.model.encoder import HEAD_OUTPUT
from atst.model.moments import Moments
from atst.pretraining.heads import Head, StatisticsHead
from atst.training.batchnorm import at_least_float32

Views = tuple[Tensor, Tensor]


class TeacherStudent(nn.Module):
    """Student (encoder, projector, predictor) and teacher (encoder, projector, without gradients).

    `size` is an encoder size, `drop_path` the stochastic depth of both networks. The rest is off in the
    paper: the stem (`patches` or `conv`), what the projector gets (`cls` or `statistics`: mean and standard
    deviation over time of the stem and of every block), the objective (`byol` or `infonce`, with its
    temperature), and the share of tokens that the student's blocks do without.
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
    ) -> None:
        super().__init__()
        self.projector_input, self.objective = projector_input, objective
        self.temperature, self.token_drop = temperature, token_drop
        self.student = self._network(stem, size, drop_path)
        self.student["predictor"] = (
            Head(HEAD_OUTPUT) if projector_input == "cls" else Head(HEAD_OUTPUT, StatisticsHead.HIDDEN)
        )
        self.teacher = self._network(stem, size, drop_path)
        self.copy_student()
        self.teacher.requires_grad_(False)

    @classmethod
    def from_official(cls, path: str | Path, drop_path: float = 0.1) -> "TeacherStudent":
        """Both networks of an authors' checkpoint. Raises `ModelError` for a file without them."""
        from atst.model import official

        checkpoint = official.read(path)
        pair = cls(checkpoint.size, drop_path)
        pair.student.load_state_dict(checkpoint.student)
        pair.teacher.load_state_dict(checkpoint.teacher)
        return pair

    def loss(
        self, view1: Tensor, view2: Tensor, lengths1: Tensor | None = None, lengths2: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of two log-mel views `(B, 64, T)` of the same clips; lengths in frames, `(B,)`.

        Mean of two cross terms, each the distance (`byol`: 0 to 4; `infonce`: in nats) between the student's
        prediction for one view and the teacher's projection of the other (ATST equations 1 and 2). `stats`
        holds the outputs `student` and `teacher` `(2B, 256)`, detached, and `output_std` of each.
        """
        views, lengths = (view1, view2), (lengths1, lengths2)
        pooled = self._pooled(self.student, views, lengths, keep=1.0 - self.token_drop)
        student = self.student["predictor"](self.student["projector"](pooled))
        with torch.no_grad():
            teacher = self.teacher["projector"](self._pooled(self.teacher, views, lengths))
        student, teacher = at_least_float32(student), at_least_float32(teacher)  # (2B, 256)
        student1, student2 = student.chunk(2)
        teacher1, teacher2 = teacher.chunk(2)
        if self.objective == "byol":
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

    @staticmethod
    def _averaged(network: nn.ModuleDict) -> list[Tensor]:
        return [*network["encoder"].parameters(), *network["projector"].parameters()]

    @torch.no_grad()
    def copy_student(self) -> None:
        """Make the teacher equal to the student, as at the start of a run."""
        for part in ("encoder", "projector"):
            self.teacher[part].load_state_dict(self.student[part].state_dict())

    def parameter_groups(self) -> list[dict[str, object]]:
        """Two groups for AdamW: tensors of two and more dimensions decay, biases and norms do not."""
        trained = [p for p in self.student.parameters() if p.requires_grad]
        return [
            {"params": [p for p in trained if p.ndim >= 2]},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]

    def _network(self, stem: str, size: str, drop_path: float) -> nn.ModuleDict:
        encoder = STEMS[stem](size, drop_path)
        if self.projector_input == "cls":
            return nn.ModuleDict({"encoder": encoder, "projector": Head(encoder.width)})
        width = 2 * (sum(encoder.stem_sizes) + encoder.depth * encoder.width)
        return nn.ModuleDict({"encoder": encoder, "projector": StatisticsHead(width)})

    def _pooled(
        self, network: nn.ModuleDict, views: Views, lengths: tuple[Tensor | None, ...], keep: float = 1.0
    ) -> Tensor:
        """What the projector gets of both views, `(2B, ...)`: one pass when the views are equally wide."""
        if views[0].shape == views[1].shape and (lengths[0] is None) == (lengths[1] is None):
            joined = None if lengths[0] is None or lengths[1] is None else torch.cat([lengths[0], lengths[1]])
            return self._pool(network["encoder"], torch.cat(views), joined, keep)
        encoder = network["encoder"]
        return torch.cat([self._pool(encoder, *pair, keep) for pair in zip(views, lengths, strict=True)])

    def _pool(self, encoder: Any, views: Tensor, lengths: Tensor | None, keep: float) -> Tensor:
        if self.projector_input == "cls":
            return encoder(views, lengths)[0][:, 0]
        levels = encoder.levels(views, lengths, layers=encoder.depth, stem=True, keep=keep)
        valid = None
        if lengths is not None:
            valid = torch.arange(levels[0].shape[1], device=lengths.device) < encoder.count(lengths)[:, None]
        return torch.cat([_statistics(tokens, valid) for tokens in levels], dim=1)


def distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of 2 - 2 cos: 0 for equal directions, 4 for opposite ones."""
    return (2.0 - 2.0 * nn.functional.cosine_similarity(prediction, target, dim=-1)).mean()


def contrast(prediction: Tensor, target: Tensor, temperature: float) -> Tensor:
    """InfoNCE: cross-entropy of finding the own target among those of the whole batch, of all devices."""
    prediction = nn.functional.normalize(prediction, dim=-1)
    target = nn.functional.normalize(target, dim=-1)
    rank = 0
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        parts = [torch.empty_like(target) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, target)  # without gradients: the teacher has none
        target, rank = torch.cat(parts), dist.get_rank()
    own = torch.arange(len(prediction), device=prediction.device) + rank * len(prediction)
    return nn.functional.cross_entropy(prediction @ target.T / temperature, own)


def output_std(outputs: Tensor) -> Tensor:
    """Mean over dimensions of the standard deviation of the L2-normalised rows of `(N, 256)`.

    1/16 when the directions are spread uniformly, near 0 when all inputs give one output.
    """
    unit = nn.functional.normalize(outputs, dim=-1)
    return (unit.var(dim=0) + 1e-6).sqrt().mean()


def effective_rank(outputs: Tensor) -> Tensor:
    """Exponential of the entropy of the normalised singular values of the centred rows of `(N, 256)`.

    Between 1 and 256; RankMe (arXiv 2210.02885) with the mean removed.
    """
    unit = nn.functional.normalize(outputs.double().nan_to_num(), dim=-1)
    centred = unit - unit.mean(dim=0)
    variances = torch.linalg.eigvalsh(centred.T @ centred).clamp_min(0.0)
    share = variances.sqrt() / variances.sqrt().sum().clamp_min(1e-30)
    return torch.special.entr(share).sum().exp()


def _statistics(tokens: Tensor, valid: Tensor | None) -> Tensor:
    """Mean and standard deviation over time, `(B, 2 * D)`."""
    moments = Moments.of(tokens, valid)
    return torch.cat([moments.mean, moments.std()], dim=1)
