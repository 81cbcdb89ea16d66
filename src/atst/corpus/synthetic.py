"""Built-in sounds."""


class SyntheticCorpus:
    def __init__(self, size: int, seconds: float = 4.0, seed: int = 0) -> None:
        raise NotImplementedError
