# A14 {"want": "ok"}
import os
for p in ("/x","/usr/x","/etc/x","/dev/x","/usr/lib/python3/dist-packages/sitecustomize.py","@VICTIM_FILE@","/var/tmp/x","/dev/shm/x","/proc/x"):
    try: open(p,"w").write("pwn"); print(p,"BAD")
    except OSError as e: print(p, type(e).__name__)
