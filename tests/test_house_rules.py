"""Rules of the code base that no linter here checks. A failure names the file and the line."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ptycho", "ptycho_torch")
MAX_LINES = 400
MAX_STATEMENTS = 40

# Notes to oneself, references to a tracker, paths of one machine. Written so as not to match themselves.
PROCESS_WORDS = re.compile(
    r"\b(?:TOD[O]|FIXM[E]|XX[X]|HAC[K])\b|(?i:\bphas[e] [a-f]\d|\bissu[e] #?\d)|/(?:wor[k]|roo[t]|hom[e])/"
)
RUNS_CODE_ON_LOAD = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
RUNS_CODE_IN_YAML = {
    f"yaml.{name}"
    for name in ("FullLoader", "Loader", "UnsafeLoader", "full_load", "load", "load_all", "unsafe_load")
}

LASTING_CHANGES = {
    ("ptycho/probe.py", "rebinds _guess"),
    ("ptycho/model_manager.py", "rebinds _trained, _temporary"),
    ("ptycho_torch/config_payload.py", "calls update_legacy_dict"),
    ("ptycho_torch/config_payload.py", "calls params.set"),
    ("ptycho_torch/__init__.py", "writes os.environ"),
    ("ptycho_torch/runtime/environment.py", "calls os.environ.update"),
    ("ptycho_torch/runtime/environment.py", "calls os.environ.pop"),
    ("ptycho_torch/runtime/environment.py", "writes os.environ"),
}
"""Historical doors that remember for the process, the one writer of the legacy dictionary, and the one place that sets
environment variables for a run and puts them back. The package says for the process how idle threads wait."""

WRITES_TO_A_PATH = re.compile(
    r"(.+\.)?(write_text|write_bytes|touch|mkstemp|\w*TemporaryFile|tofile|to_csv|to_yaml|save_file|rename)"
    r"|np\.memmap|(.+\.)?open_memmap|os\.(open|replace|link|symlink)|(.+\.)?\w+link_to|shutil\.(?!rmtree|ignore_patterns)\w+"
)
WRITES_TO_AN_ARGUMENT = re.compile(
    r"np\.(save\w*)|torch\.save|(json|yaml)\.\w*dump|(.+\.)?(savefig|imsave)|zipfile\.ZipFile|.*h5py\)?\.File"
)
MAY_WRITE = {
    ("ptycho_torch/runs/record.py", "uses logging.FileHandler"),  # a log grows line by line
    ("ptycho/model_manager.py", "calls shutil.copytree"),  # writes each file with its copy_function
    ("ptycho/model_manager.py", "calls shutil.copyfileobj"),  # from one open file to another
    ("ptycho/inspection_picture.py", "calls figure.savefig"),  # into memory
    ("ptycho/run_folder.py", "calls os.rename"),  # moves what is whole
    ("ptycho/run_folder.py", "calls os.replace"),
    ("ptycho_torch/runs/exports.py", "calls h5py.File"),  # into the open file of atomic_write
}
"""What seems to write a file otherwise than through `ptycho.atomic`, and why it may."""

NOT_PLAIN = re.compile(
    r"(?i)\b(?:the caller|(?:is|are|was|not) said|says? so|(?:is|was) told|told to|there is none of|gave|speaks?)\b"
)
"""What no message, help text or page says: a person is told the setting, the place and what to do, in plain words."""
OF_CODE = re.compile(r"(?i)\bknobs?\b(?!\.py)")
"""A word of code and specs; people read `setting`."""

Finding = tuple[int, str]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def source_files() -> list[Path]:
    """Every Python file of the two packages."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def tracked_texts() -> Iterator[tuple[Path, str]]:
    """Every tracked text file, by the bytes as latin-1 characters."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs the git checkout: the rule is about tracked files")
    for path in (ROOT / name for name in listed.stdout.split("\0") if name):
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content:
            yield path, content.decode("latin-1")


def report(findings: Iterator[tuple[Path, int, str]]) -> None:
    """Fail with one line per finding, if there is any."""
    lines = [f"{path.relative_to(ROOT)}:{line}: {what}" for path, line, what in findings]
    assert not lines, "\n" + "\n".join(lines)


def report_in_sources(check: Callable[[ast.Module], Iterator[Finding]]) -> None:
    """Fail with what `check` finds in the syntax tree of any source file."""
    report(
        (path, line, what)
        for path in source_files()
        for line, what in check(ast.parse(path.read_text(), path.name))
    )


def long_functions(tree: ast.Module) -> Iterator[Finding]:
    for function in ast.walk(tree):
        if isinstance(function, Function):
            count = sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1
            count -= ast.get_docstring(function) is not None
            if count >= MAX_STATEMENTS:
                yield function.lineno, f"{function.name}: {count} statements; expected < {MAX_STATEMENTS}"


def broad_excepts(tree: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = [None] if node.type is None else ast.walk(node.type)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            caught = node.args
        else:
            continue
        if any(one is None or getattr(one, "id", "") in {"BaseException", "Exception"} for one in caught):
            yield node.lineno, "catches everything; name the errors that can be handled here"


def loads_that_run_code(tree: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            for module in {name.partition(".")[0] for name in modules} & RUNS_CODE_ON_LOAD:
                yield node.lineno, f"imports {module}"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in RUNS_CODE_IN_YAML:
            yield node.lineno, f"uses {ast.unparse(node)}; expected a safe loader"
        elif isinstance(node, ast.Call):
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            called = ast.unparse(node.func)
            if given.get("allow_pickle", "False") != "False":
                yield node.lineno, "allows pickle"
            if given.get("weights_only", "False" if called == "torch.load" else "True") != "True":
                yield node.lineno, "loads more than weights; expected weights_only=True"
            if called in {"eval", "exec"}:
                yield node.lineno, f"calls {called}"


def guarded_config_reads(tree: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and len(node.args) == 3:
            owner = ast.unparse(node.args[0]).rpartition(".")[2]
            if owner == "cfg" or owner.endswith("config"):
                yield node.lineno, f"reads {owner} with a fallback; the field exists, read it"


def words_not_plain(tree: ast.Module) -> Iterator[Finding]:
    """What is not plain English in a string that somebody may be shown: all but the docstrings."""
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    docstrings = {id(one.value) for one in statements}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            for found in (*NOT_PLAIN.finditer(node.value), *OF_CODE.finditer(node.value)):
                yield node.lineno, f"shows {found[0]!r}"


def missing_docstrings(tree: ast.Module) -> Iterator[Finding]:
    for node in tree.body:
        public = isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
        overload = public and any(ast.unparse(one) == "overload" for one in node.decorator_list)
        if public and not overload and ast.get_docstring(node) is None:
            yield node.lineno, f"{node.name} is public and has no docstring"


def lasting_changes(tree: ast.Module) -> Iterator[Finding]:
    """What outlives a call, in the process: rebound globals, the legacy dictionary, the environment."""
    writes = re.compile(
        r"params\.set|(params\.cfg|environ)\.(clear|pop|popitem|setdefault|update)|(os\.)?putenv"
    )
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield node.lineno, f"rebinds {', '.join(node.names)}"
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            if re.search(r"params\.cfg$|environ$", owner := ast.unparse(node.value)):
                yield node.lineno, f"writes {owner}"
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if writes.search(called) or any(ast.unparse(one) == "params.cfg" for one in node.args):
                yield node.lineno, f"calls {called}"


def direct_writes(tree: ast.Module) -> Iterator[Finding]:
    """What opens a path for writing, where a reader or a kill may meet half a file."""
    opened = {
        ast.unparse(item.optional_vars)
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        for item in node.items
        if item.optional_vars is not None
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.endswith("FileHandler"):
            yield node.lineno, f"uses {ast.unparse(node)}"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = [ast.unparse(one) for one in [*node.args, *(word.value for word in node.keywords)]]
        if called != "os.open" and called.rpartition(".")[2] == "open":
            found = any(re.fullmatch(r"'[rbt]*[wax+][wax+bt]*'", one) for one in given)
        elif WRITES_TO_AN_ARGUMENT.fullmatch(called):
            only_reads = called.endswith(("ZipFile", "File")) and given[1:] in ([], ["'r'"])
            found = not only_reads and not opened.intersection(given)
        else:
            only_reads = called == "os.open" and "os.O_RDONLY" in given[1]
            found = WRITES_TO_A_PATH.fullmatch(called) and "os.devnull" not in given and not only_reads
        if found:
            yield node.lineno, f"calls {called}"


@pytest.mark.parametrize(
    "check",
    [
        long_functions,
        broad_excepts,
        loads_that_run_code,
        guarded_config_reads,
        missing_docstrings,
        words_not_plain,
    ],
)
def test_sources_follow(check: Callable[[ast.Module], Iterator[Finding]]) -> None:
    report_in_sources(check)


def test_one_function_writes_the_legacy_dictionary_and_two_doors_keep_state_of_the_process() -> None:
    report(
        (path, line, what)
        for path in source_files()
        for line, what in lasting_changes(ast.parse(path.read_text(), path.name))
        if (str(path.relative_to(ROOT)), what) not in LASTING_CHANGES
    )


def test_files_are_written_whole_or_not_at_all() -> None:
    report(
        (path, line, what)
        for path in source_files()
        for line, what in direct_writes(ast.parse(path.read_text(), path.name))
        if path.name != "atomic.py" and (str(path.relative_to(ROOT)), what) not in MAY_WRITE
    )


def test_files_are_short() -> None:
    counts = ((path, len(path.read_text().splitlines())) for path in source_files())
    report((path, n, f"{n} lines; expected < {MAX_LINES}") for path, n in counts if n >= MAX_LINES)


def test_tracked_text_is_ascii() -> None:
    report(
        (path, line, "holds a character that is not ASCII")
        for path, text in tracked_texts()
        for line, content in enumerate(text.split("\n"), start=1)
        if not content.isascii()
    )


def test_pages_are_in_plain_words() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "specs").rglob("*.md")]
    pages += (ROOT / "benchmarks").rglob("*.md")
    report(
        (page, number, f"says {found[0]!r}")
        for page in sorted(pages)
        for number, line in enumerate(page.read_text().splitlines(), start=1)
        for rule in (NOT_PLAIN, *([] if page.parent.name == "specs" else [OF_CODE]))
        for found in rule.finditer(re.sub(r"<KNOB>|`[^`]*`", "", line))
    )


def test_tracked_text_speaks_of_the_project_alone() -> None:
    report(
        (path, line, f"says {found.group()!r}")
        for path, text in tracked_texts()
        for line, content in enumerate(text.split("\n"), start=1)
        if (found := PROCESS_WORDS.search(content))
    )


@pytest.mark.parametrize(
    ("package", "unwanted"),
    [
        ("ptycho", {"lightning", "pytorch_lightning", "ptycho_torch", "torch"}),
        ("ptycho.config", {"lightning", "numpy", "pytorch_lightning", "ptycho_torch", "torch"}),
    ],
)
def test_importing_every_module_of(package: str, unwanted: set[str]) -> None:
    script = (
        f"import importlib, pkgutil, sys, {package} as package\n"
        f"for found in pkgutil.walk_packages(package.__path__, '{package}.'):\n"
        "    importlib.import_module(found.name)\n"
        f"print(*sorted({unwanted!r} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], f"importing {package} also imports {done.stdout}"


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (long_functions, "def f():\n" + "    x = 1\n" * MAX_STATEMENTS),
        (broad_excepts, "try:\n    f()\nexcept Exception:\n    pass"),
        (broad_excepts, "try:\n    f()\nexcept (OSError, BaseException):\n    pass"),
        (broad_excepts, "try:\n    f()\nexcept:\n    pass"),
        (broad_excepts, "with contextlib.suppress(Exception):\n    f()"),
        (loads_that_run_code, "from pickle import loads"),
        (loads_that_run_code, "numpy.load(path, allow_pickle=True)"),
        (loads_that_run_code, "torch.load(path)"),
        (loads_that_run_code, "Model.load_from_checkpoint(path, weights_only=False)"),
        (loads_that_run_code, "yaml.load(text, Loader=yaml.CSafeLoader)"),
        (loads_that_run_code, "eval(text)"),
        (guarded_config_reads, "getattr(self.execution_config, 'num_workers', 0)"),
        (lasting_changes, "def f():\n    global state\n    state = 1"),
        (lasting_changes, "params.set('N', 64)"),
        (lasting_changes, "ptycho.params.cfg['N'] = 64"),
        (lasting_changes, "del params.cfg['N']"),
        (lasting_changes, "params.cfg.update(N=64)"),
        (lasting_changes, "update_legacy_dict(params.cfg, config)"),
        (lasting_changes, "os.environ['PATH'] = ''"),
        (lasting_changes, "os.environ.setdefault('PATH', '')"),
        (direct_writes, "open(path, 'w')"),
        (direct_writes, "path.open(mode='ab')"),
        (direct_writes, "path.write_text(text)"),
        (direct_writes, "np.savez(path, **arrays)"),
        (direct_writes, "figure.savefig(path)"),
        (direct_writes, "torch.save(content, path)"),
        (direct_writes, "json.dump(content, path)"),
        (direct_writes, "zipfile.ZipFile(path, 'w')"),
        (direct_writes, "cast(Any, h5py).File(path, 'w')"),
        (direct_writes, "logging.FileHandler(path)"),
        (direct_writes, "shutil.copyfile(source, path)"),
        (words_not_plain, "raise ValueError(f'{name}: got {value} from the caller.')"),
        (words_not_plain, "raise ValueError('Leave out what was told to be there.')"),
        (words_not_plain, "describe('Set this knob.')"),
        (missing_docstrings, "def public():\n    return 1"),
        (missing_docstrings, "class Public:\n    x = 1"),
    ],
)
def test_a_rule_finds_what_breaks_it(check: Callable[[ast.Module], Iterator[Finding]], source: str) -> None:
    assert list(check(ast.parse(source)))
