# sleep-forever {"want": "timeout_wall"}
import time
while True:
    try: time.sleep(1000)
    except KeyboardInterrupt: break
