"""What a training step costs."""

from atst.model.encoder import HEAD_HIDDEN, HEAD_OUTPUT, SIZES, forward_flops


def flops_per_clip(size: str, frames: int) -> int:
    """Floating-point operations of the matrix products for one clip, both views of `frames` frames.

    A backward pass counts as two forward passes; the student has both, the teacher only the forward one.
    Making the views, the optimiser and everything that is done element by element are left out.
    """
    projector = 2 * HEAD_HIDDEN * (SIZES[size][0] + HEAD_OUTPUT)
    predictor = 2 * HEAD_HIDDEN * (HEAD_OUTPUT + HEAD_OUTPUT)
    student = 3 * (forward_flops(size, frames) + projector + predictor)
    teacher = forward_flops(size, frames) + projector
    return 2 * (student + teacher)
