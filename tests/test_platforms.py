"""What the package calls exists on Linux, macOS and Windows, or stands behind a check of them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT / name for name in ("bert_lightning", "benchmarks", "scripts")]
OF_LINUX = {"mutation.py", "mutation_forks.py"}
"""Tools of those who work on the project."""
SOURCES = [
    *(ROOT / "train.py", ROOT / "finetune.py"),
    *sorted(p for place in FOLDERS for p in place.rglob("*.py") if p.name not in OF_LINUX),
]
POSIX_MODULES = {
    *("fcntl", "grp", "posix", "posixpath", "pty", "pwd", "resource", "syslog", "termios", "tty"),
}
POSIX_NAMES = {
    "os": {
        *("chown", "fork", "forkpty", "getegid", "geteuid", "getgid", "getgroups", "getloadavg"),
        *("getpgid", "getpgrp", "getppid", "getpriority", "getsid", "getuid", "killpg", "link"),
        *("lchown", "mkfifo", "nice", "openpty", "posix_fadvise", "posix_spawn"),
        "sched_getaffinity",
        *("sched_setaffinity", "setsid", "statvfs", "symlink", "sync", "sysconf", "uname", "wait"),
        *("wait3", "wait4", "waitpid", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"),
    },
    "signal": {
        *("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP"),
        *("SIGUSR1", "SIGUSR2", "alarm", "pause", "pthread_kill", "pthread_sigmask", "setitimer"),
        *("sigpending", "sigtimedwait", "sigwait", "sigwaitinfo"),
    },
    "time": {"tzset"},
    "ctypes": {"CDLL"},
}  # fmt: skip
POSIX_METHODS = {"symlink_to", "hardlink_to", "is_mount", "lchmod"}
POSIX_ARGUMENTS = {"preexec_fn", "start_new_session", "process_group", "pass_fds", "close_fds"}
POSIX_PATHS = re.compile(r"^/(proc|sys|dev|tmp|etc|usr)(/|$)")
ALLOWED = {
    ("bert_lightning/runs/processes.py", "os.getppid"),  # Windows has it, without news of the end
    ("bert_lightning/runs/allocator.py", "ctypes.CDLL"),  # on Linux
    ("bert_lightning/model/kernels/cpu.py", "ctypes.CDLL"),  # on Linux; else plain PyTorch
    ("bert_lightning/training/saving.py", ".symlink_to"),  # else a file that holds the name
    ("bert_lightning/sizing/machine.py", "resource"),  # not on Windows
    ("bert_lightning/reports/page/start.py", "/proc/cpuinfo"),  # else what Python knows
    ("benchmarks/machine.py", "/proc/cpuinfo"),  # if it exists
    ("bert_lightning/launching/on_ray.py", "/tmp"),  # else the system's own folder
    ("bert_lightning/sizing/machine.py", "/proc/self/status"),  # on Linux
    ("bert_lightning/runs/cores/waiting.py", "os.getloadavg"),  # on Linux
    ("bert_lightning/runs/cores/contention.py", "/proc/self/task"),  # else nothing is known
    ("benchmarks/update_readme.py", ".symlink_to"),  # rerun by those who work on the project
    ("benchmarks/run_recipe.py", ".symlink_to"),
    ("benchmarks/finetuning.py", ".symlink_to"),
}  # fmt: skip
"""Each with what happens where it is missing; `test_without.py` takes it away."""


def calls_of_one_system(tree: ast.AST) -> Iterator[str]:
    """Names of modules, functions, arguments and paths that not all three systems have."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if name.name in POSIX_MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                known = POSIX_NAMES.get(module, set())
                yield from (f"{module}.{name.name}" for name in names if name.name in known)
                if module in POSIX_MODULES:
                    yield module
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in POSIX_NAMES:
                if name in POSIX_NAMES[module]:
                    yield f"{module}.{name}"
            case ast.Attribute(attr=name) if name in POSIX_METHODS:
                yield f".{name}"
            case ast.Call(keywords=keywords):
                yield from (f"{word.arg}=" for word in keywords if word.arg in POSIX_ARGUMENTS)
            case ast.Constant(value=str(text)) if POSIX_PATHS.match(text):
                yield text


def text_without_an_encoding(tree: ast.AST) -> Iterator[str]:
    """Calls that read or write text in the encoding of the system: not UTF-8 on Windows."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        words = {word.arg: word.value for word in node.keywords}
        given = [*node.args, *words.values()]
        modes = [part.value for part in given if isinstance(part, ast.Constant)]
        binary = any(
            isinstance(mode, str) and re.fullmatch(r"[rwax]?\+?b\+?", mode) for mode in modes
        )
        opens = name == "open" and ast.unparse(node.func) not in (
            "os.open",
            "gzip.open",
            "Image.open",
        )
        reads = name in (
            "read_text",
            "write_text",
            "fdopen",
            "TextIOWrapper",
            "FileHandler",
            "LogFile",
        )
        own = name == "write_text" and isinstance(node.func, ast.Name)  # of files.py: always UTF-8
        piped = "text" in words or "universal_newlines" in words
        positional = name == "read_text" and node.args
        fine = "encoding" in words or binary or own or positional
        if not fine and (opens or reads or piped):
            yield f"{ast.unparse(node)[:60]} in line {node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_exists_on_one_system_only(path: Path) -> None:
    name, tree = path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))
    assert {found for found in calls_of_one_system(tree) if (name, found) not in ALLOWED} == set()
    assert list(text_without_an_encoding(tree)) == []


def test_what_is_allowed_is_there() -> None:
    found = {
        (name, call)
        for name in {name for name, _ in ALLOWED}
        for call in calls_of_one_system(ast.parse((ROOT / name).read_text(encoding="utf-8")))
    }
    assert found == ALLOWED


@pytest.mark.parametrize(
    "code",
    [
        'os.sysconf("SC_AVPHYS_PAGES")', "signal.signal(signal.SIGHUP, stop)", "import fcntl",
        "from os import fork", "from resource import getrusage", "link.symlink_to(target)",
        'subprocess.run(command, start_new_session=True)', 'open("/proc/meminfo", "rb")',
        "os.sched_getaffinity(0)", 'Path("/tmp") / name',
    ],
)  # fmt: skip
def test_the_search_finds(code: str) -> None:
    assert list(calls_of_one_system(ast.parse(code)))


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("path.read_text()", True), ('path.write_text("ü")', True), ("path.open()", True),
        ('open(path, "w")', True), ("run(command, text=True)", True),
        ('path.read_text(encoding="utf-8")', False), ('path.open("rb")', False),
        ('write_text(path, "ü")', False), ('run(command, encoding="utf-8")', False),
    ],
)  # fmt: skip
def test_the_search_finds_text_without_an_encoding(code: str, found: bool) -> None:
    assert bool(list(text_without_an_encoding(ast.parse(code)))) == found


def test_no_file_has_a_name_that_windows_refuses() -> None:
    names = re.findall(r'strftime\("([^"]*)"\)', "".join(p.read_text("utf-8") for p in SOURCES))
    config = (ROOT / "conf" / "train.yaml").read_text(encoding="utf-8")
    names += re.findall(r"\$\{now:([^}]*)\}", config)
    assert len(names) >= 3
    assert [name for name in names if re.search(r'[<>:"|?*\\]', name)] == []


def test_no_device_gets_64_bit_numbers() -> None:
    """Apple's GPUs have none: what is summed up in float64 goes to the host first."""
    packages = ("model", "optim", "training", "evaluation", "inference")
    found = [
        match[0]
        for package in packages
        for path in (ROOT / "bert_lightning" / package).rglob("*.py")
        for match in re.finditer(
            r"\S*\.double\(\)|\S*\.to\(torch\.float64\)", path.read_text("utf-8")
        )
    ]
    assert len(found) == 2
    assert all(".cpu().double()" in call for call in found)
