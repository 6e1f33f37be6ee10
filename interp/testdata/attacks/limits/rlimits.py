# rlimits {"as": "denied", "want": "ok"}
resource.setrlimit(resource.RLIMIT_DATA,(1<<40,1<<40))
resource.setrlimit(resource.RLIMIT_NOFILE,(64,64))
resource.prlimit(1,resource.RLIMIT_NOFILE,(1,1))
os.setpriority(0,0,-5)
os.nice(-5)
os.sched_setaffinity(0,{0})
os.sched_setscheduler(0,1,os.sched_param(1))
