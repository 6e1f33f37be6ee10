# fs-sys-and-cgroup {"want": "ok"}
import os,glob
for p in ('/sys/fs/cgroup','/sys/kernel','/sys/class/net','/sys/fs/cgroup/memory/memory.limit_in_bytes','/proc/sys/kernel/core_pattern','/proc/sysrq-trigger','/proc/self/cgroup','/proc/self/mountinfo','/proc/net/tcp','/proc/cmdline','/run/docker.sock','/var/run','/run/systemd'):
    try: print('BAD',p,os.listdir(p) if os.path.isdir(p) else open(p).read(9))
    except OSError: pass
