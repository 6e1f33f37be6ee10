# A11 {"want": "ok"}
import os
for p in ("/root/.bashrc","/etc/shadow","/root/.ssh/id_rsa","/old/etc/passwd","/../../etc/shadow","/home"):
    try: print(p, "BAD", open(p).read()[:20] if not os.path.isdir(p) else os.listdir(p))
    except OSError as e: print(p, type(e).__name__)
