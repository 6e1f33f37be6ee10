# proto-steal-next {"want": "ok;ok|timeout_wall|timeout_cpu|protocol_violation"}
import threading,os
def f():
    while True: os.read(3,1<<18)
threading.Thread(target=f,daemon=True).start()
# next cell
print('second')
