# thread-outlives {"want": "ok alive;ok alive;ok alive", "has": "three"}
import threading,time,os
def f():
    while True: os.write(1,b'late'); time.sleep(0.005)
threading.Thread(target=f,daemon=True).start()
print('one')
# next cell
print('two')
# next cell
print('three')
