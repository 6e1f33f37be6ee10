# handlers {"want": "timeout_cpu gone|timeout_wall gone"}
import signal
signal.signal(signal.SIGINT,lambda *a: None)
while True: pass
