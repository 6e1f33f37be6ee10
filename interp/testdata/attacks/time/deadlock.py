# deadlock {"want": "timeout_wall"}
import threading
l=threading.Lock(); l.acquire(); l.acquire()
