"""What a training step costs."""

from atst.model.conv_encoder import CONV_SIZES, conv_flops, stem_sizes
from atst.model.encoder import HEAD_HIDDEN, HEAD_OUTPUT, PATCH_FRAMES, SIZES, forward_flops
from atst.model.frontend import SAMPLE_RATE, n_frames
from atst.pretraining.heads import StatisticsHead
from atst.pretraining.recipe import Recipe
from atst.pretraining.views import MASKED


def flops_per_clip(recipe: Recipe) -> int:
    """Floating-point operations of the products of matrices, and convolutions, for one clip, both views.

    A backward pass counts as two forward passes; the student has both, the teacher only the forward one.
    Making the views, the optimiser and everything that is done element by element are left out.
    """
    return sum(_flops_per_view(recipe, n_frames(round(s * SAMPLE_RATE))) for s in recipe.both_seconds)


def _flops_per_view(recipe: Recipe, frames: int) -> int:
    if recipe.stem == "conv":
        _, width, blocks, _ = CONV_SIZES[recipe.size]
        levels = [*stem_sizes(recipe.size), *blocks * [width]]
        teacher, student = (conv_flops(recipe.size, frames, keep) for keep in (1.0, 1.0 - recipe.token_drop))
    else:
        width, blocks, _ = SIZES[recipe.size]
        levels = (1 + blocks) * [width]
        teacher = student = forward_flops(recipe.size, frames)
    frame_width, hidden = width, HEAD_HIDDEN
    if recipe.projector_input == "statistics":
        hidden, width = StatisticsHead.HIDDEN, 2 * sum(levels)
    heads = _heads(width, hidden) if recipe.local_weight < 1 else 0
    if recipe.local_weight:
        heads += int(MASKED * (frames // PATCH_FRAMES)) * _heads(frame_width, HEAD_HIDDEN)
    return 3 * student + teacher + heads


def _heads(width: int, hidden: int) -> int:
    """Of the heads of both networks, for a vector."""
    projector = 2 * hidden * (width + HEAD_OUTPUT)
    predictor = 2 * hidden * (HEAD_OUTPUT + HEAD_OUTPUT)
    return 3 * (projector + predictor) + projector
