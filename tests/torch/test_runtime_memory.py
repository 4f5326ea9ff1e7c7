"""The most memory that a process has had."""

import subprocess
import sys

import numpy as np
import pytest

# What it has had at most after an array of 0.8 GB was made and given back.
MEASURE = """
from ptycho_torch.runtime.memory import peak_memory
import numpy as np
before = peak_memory()["peak_memory_bytes"]
np.ones(100_000_000)
print(before, peak_memory()["peak_memory_bytes"])
"""


@pytest.mark.integration
def test_the_peak_is_that_of_the_program_and_not_of_the_process_that_started_it() -> None:
    large = np.ones(250_000_000)  # 2 GB, resident while the program starts
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], check=True, timeout=120, stdout=subprocess.PIPE, text=True
    )
    before, after = map(int, done.stdout.split())
    assert before < 1e9
    assert 0.7e9 < after - before < 0.9e9
    assert large[-1] == 1
