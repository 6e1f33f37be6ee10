# fs-parent-memory {"want": "ok"}
import os
for p in (os.getppid(),1,2,os.getpid()):
    for f in ('mem','environ','maps','cmdline','stack','auxv','root/etc/shadow','cwd/go.mod','task/%d/mem'%p,'syscall','pagemap','oom_score_adj','timens_offsets','uid_map'):
        for m in ('rb','r+b'):
            try: open('/proc/%d/%s'%(p,f),m).read(1); print('BAD',p,f,m)
            except OSError: pass
