# namespaces {"as": "denied", "want": "ok"}
c('unshare',0x10000000)
c('unshare',0x40000000)
c('unshare',0x00020000)
c('setns',3,0)
c('unshare',0x80)
