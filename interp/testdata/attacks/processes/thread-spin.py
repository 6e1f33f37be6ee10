# thread-spin {"want": "timeout_cpu|timeout_wall"}
import threading
def f():
    while True: pass
[threading.Thread(target=f,daemon=True).start() for _ in range(8)]
f()
