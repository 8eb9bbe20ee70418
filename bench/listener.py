"""A server that listens as soon as its interpreter runs: C modules only, none of the library's.

python3 -I -S listener.py        HTTP on port 8080, one connection at a time, each answered and closed
"""

import _signal
import _socket
import posix

_signal.signal(_signal.SIGTERM, lambda *_: posix._exit(0))
listening = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
listening.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
listening.bind(("0.0.0.0", 8080))
listening.listen(64)
while True:
    descriptor, _ = listening._accept()
    try:
        posix.read(descriptor, 4096)
        posix.write(descriptor, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
    except OSError:
        pass  # a tcpSocket probe resets its connection
    posix.close(descriptor)
