"""The Python client is had from the server it is for, by anybody."""

import subprocess
import sys

from django.conf import settings


def test_the_typed_client_is_served_as_it_is(nobody, django_assert_num_queries):
    with django_assert_num_queries(0):
        answer = nobody.get("/examples/typed_client.py")

    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/x-python; charset=utf-8"
    assert answer.content == (settings.BASE_DIR / "examples" / "typed_client.py").read_bytes()


def test_what_is_served_can_be_imported(nobody, tmp_path):
    (tmp_path / "served.py").write_bytes(nobody.get("/examples/typed_client.py").content)
    program = "import served; served.SyncSaaSLLMClient('http://api.test', 'acme', 'sk-1').close()"

    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env={}, check=True)


def test_nothing_else_of_the_folder_is_served(nobody):
    for path in (
        "/examples/example1_simple.py",
        "/examples/",
        "/examples/../manage.py",
        "/examples/typed_client.pyc",
    ):
        assert nobody.get(path).status_code == 404


def test_the_client_is_only_read(nobody):
    answer = nobody.post("/examples/typed_client.py", {})

    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
    assert answer["Allow"] == "GET, HEAD"
