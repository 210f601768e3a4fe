"""What is loaded beside everything else ends before the program does."""

import subprocess
import sys
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

# An interpreter that takes long to end, as one with many modules does, meets the thread when it comes back from Rust.
ENDS_MEANWHILE = """
import sys, time
from sftkey_data.tokens.fastokens_prefetch import prefetch

class EndsLate:
    def __del__(self, sleep=time.sleep):
        sleep(2)

late = EndsLate()
prefetch(sys.argv[1])
while not hasattr(sys.modules.get("fastokens"), "Tokenizer"):
    time.sleep(0.001)
"""


def test_a_program_that_ends_while_a_tokenizer_loads_ends_as_it_would_without(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    command = [sys.executable, "-c", ENDS_MEANWHILE, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
