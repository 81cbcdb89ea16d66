"""The page on which a library is labelled: what it asks for, and the training behind it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from atst.library import media
from atst.library.labelling import Labelling
from atst.library.learning import Learned
from atst.library.serving import Json, Server
from atst.output.html import template
from atst.output.text import writable

KEPT = 32  # sounds and pictures of the last stretches, for undo


class LabelPage:
    """Serves `labelling` at `server.address` until `wait` returns. Use it as a context.

    After every change the classifier is trained again in the background and given to `save`.
    """

    def __init__(
        self, labelling: Labelling, save: Callable[[Learned], None] | None = None, port: int = 0
    ) -> None:
        self.labelling, self._save = labelling, save
        self._changed, self._finished, self._ended = threading.Event(), threading.Event(), False
        self._trainer = threading.Thread(target=self._train, daemon=True)
        self._reader = ThreadPoolExecutor(1)  # one decoding process, that of its thread
        self._heard = lru_cache(KEPT)(self._read)
        self._problem = ""
        actions = {
            "state": lambda sent: self._state(),
            "label": self._label,
            "skip": self._skip,
            "undo": self._undo,
            "class": self._class,
            "stop": self._stop,
        }
        self.server = Server(self._page, actions, self._file, port)

    def __enter__(self) -> "LabelPage":
        self._changed.set()  # train on what the table has already
        self._trainer.start()
        self.server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop serving; the last training is finished first."""
        self.server.__exit__()
        self._ended = True
        self._changed.set()
        self._trainer.join()
        self._reader.shutdown()

    def wait(self) -> None:
        """Until the page says that it is finished."""
        self._finished.wait()

    def _page(self, nonce: str) -> str:
        title = f"Label {writable(self.labelling.library.path.name)}"
        return template("atst.library", "label").render(title=title, nonce=nonce)

    def _state(self) -> Json:
        return {**self.labelling.state(), "problem": self._problem}

    def _label(self, sent: Json) -> Json:
        self.labelling.label(int(sent["row"]), [str(name) for name in sent["labels"]])
        return self._after_change()

    def _undo(self, sent: Json) -> Json:
        self.labelling.undo()
        return self._after_change()

    def _skip(self, sent: Json) -> Json:
        self.labelling.skip(int(sent["row"]))
        return self._state()

    def _class(self, sent: Json) -> Json:
        self.labelling.add_class(str(sent["name"]))
        return self._state()

    def _stop(self, sent: Json) -> Json:
        self._finished.set()
        return self._state()

    def _after_change(self) -> Json:
        self._changed.set()
        return self._state()

    def _train(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            try:
                self.labelling.train(self._save)
                self._problem = ""
            except OSError as error:  # a full disk: labels are safe, the classifier is not written
                self._problem = f"the classifier cannot be written: {error.strerror or error}"
            if self._ended and not self._changed.is_set():
                return

    def _file(self, kind: str, row: int) -> tuple[str, bytes]:
        """The MIME type and the bytes of a row's `sound` or `picture`. Raises `IndexError`, `AudioError`."""
        return self._reader.submit(self._heard, kind, row).result()

    def _read(self, kind: str, row: int) -> tuple[str, bytes]:
        sound, rate = media.read(*self.labelling.place(row))
        return media.audio_file(sound, rate) if kind == "sound" else ("image/png", media.picture(sound, rate))
