# main-thread-leaves {"as": "native", "want": "timeout_cpu|timeout_wall|exited:0 gone"}
def spin():
    while True: pass
threading.Thread(target=spin,daemon=True).start()
l.syscall(ctypes.c_long(@60/93@),0)
