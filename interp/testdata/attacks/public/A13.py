# A13 {"want": "ok", "has": "FileNotFoundError", "hasC": "PermissionError"}
import glob
for p in ["/proc/self/environ","/proc/1/environ","/proc/self/maps","/proc/self/mem","/proc/kcore","/proc/sys/kernel/core_pattern"]+glob.glob("/proc/*/environ"):
    try: print(p, "BAD", open(p,"rb").read(50))
    except OSError as e: print(p, type(e).__name__)
