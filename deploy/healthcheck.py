"""The image's HEALTHCHECK: exits with 0 when the URL it is given answers 200 within three seconds."""

import sys
import urllib.request


def main(url: str) -> int:
    # No proxy from the environment: this is a call to ourselves.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=3) as response:
            return 0 if response.status == 200 else 1
    except OSError as problem:
        sys.stderr.write(f"{url}: {problem}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
