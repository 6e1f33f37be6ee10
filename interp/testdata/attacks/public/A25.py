# A25 {"want": "timeout_cpu|timeout_wall", "fork": "timeout_cpu|timeout_wall|memory"}
import os
while True:
    try: os.fork()
    except OSError: pass
