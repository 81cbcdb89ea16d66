"""The method itself: a student learns to predict what a slowly moving teacher makes of another view.

ATST (arXiv 2204.12076) section III, after BYOL: no labels and no negatives. The teacher is an
exponential moving average of the student and stays in train mode.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from atst.model.encoder import HEAD_OUTPUT, Encoder
from atst.pretraining.heads import Head
from atst.training.batchnorm import at_least_float32


class TeacherStudent(nn.Module):
    """Student (encoder, projector, predictor) and teacher (encoder, projector, without gradients).

    `size` is an encoder size, `drop_path` the stochastic depth of both networks.
    """

    def __init__(self, size: str, drop_path: float = 0.1) -> None:
        super().__init__()
        self.student = _network(size, drop_path)
        self.student["predictor"] = Head(HEAD_OUTPUT)
        self.teacher = _network(size, drop_path)
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
        """Loss (0 to 4) of two log-mel views `(B, 64, T)` of the same clips; lengths in frames, `(B,)`.

        Mean of two cross terms, each the squared distance between the student's prediction for one
        view and the teacher's projection of the other (ATST equations 1 and 2). `stats` holds the
        outputs `student` and `teacher` `(2B, 256)`, detached, and `output_std` of each.
        """
        views, lengths = (view1, view2), (lengths1, lengths2)
        student = self.student["predictor"](self.student["projector"](_cls(self.student, views, lengths)))
        with torch.no_grad():
            teacher = self.teacher["projector"](_cls(self.teacher, views, lengths))
        student, teacher = at_least_float32(student), at_least_float32(teacher)  # (2B, 256)
        student1, student2 = student.chunk(2)
        teacher1, teacher2 = teacher.chunk(2)
        loss = (distance(student2, teacher1) + distance(student1, teacher2)) / 2
        with torch.no_grad():
            stats = {"student": student.detach(), "teacher": teacher}
            stats |= {"output_std_student": output_std(student), "output_std_teacher": output_std(teacher)}
        return loss, stats

    @torch.no_grad()
    def update_teacher(self, decay: float) -> None:
        """Move the teacher's encoder and projector parameters towards the student's; not its buffers."""
        for part in ("encoder", "projector"):
            student = self.student[part].parameters()
            for target, source in zip(self.teacher[part].parameters(), student, strict=True):
                target.lerp_(source, 1.0 - decay)

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


def distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of 2 - 2 cos: 0 for equal directions, 4 for opposite ones."""
    return (2.0 - 2.0 * nn.functional.cosine_similarity(prediction, target, dim=-1)).mean()


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


def _network(size: str, drop_path: float) -> nn.ModuleDict:
    encoder = Encoder(size, drop_path)
    return nn.ModuleDict({"encoder": encoder, "projector": Head(encoder.width)})


def _cls(network: nn.ModuleDict, views: tuple[Tensor, ...], lengths: tuple[Tensor | None, ...]) -> Tensor:
    """CLS tokens of both views, `(2B, D)`: one pass when the views are equally wide."""
    encoder = network["encoder"]
    if views[0].shape == views[1].shape and (lengths[0] is None) == (lengths[1] is None):
        joined = None if lengths[0] is None or lengths[1] is None else torch.cat([lengths[0], lengths[1]])
        return encoder(torch.cat(views), joined)[0][:, 0]
    return torch.cat([encoder(view, length)[0][:, 0] for view, length in zip(views, lengths, strict=True)])
