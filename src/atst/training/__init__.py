"""What both trainings share: loop, loader, checkpoints, schedules, recipe, augmentation, launch."""
