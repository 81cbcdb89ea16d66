"""Pre-training: views, student and teacher, loss, schedules, and the run around them."""

from atst.pretraining.method import TeacherStudent

__all__ = ["TeacherStudent"]
