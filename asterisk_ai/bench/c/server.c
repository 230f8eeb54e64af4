// server - C epoll AudioSocket server: the physical-limit baseline.
//   server PORT echo            parse messages, echo each audio message (one send per message)
//   server PORT bytes           raw byte echo (no parsing), single recv+send
//   server PORT play [SLOTS]    play continuous audio: one absolute 20 ms wheel with SLOTS slots (1 = single tick)
// cc -O2 -o server server.c
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <signal.h>
typedef struct conn { int fd; int len; int slot; int spos; uint8_t b[2048]; } conn;
static int ep,mode,slots=1; static conn**sl[64]; static int sn[64],sc[64]; static uint8_t frame[323]; static uint8_t big[65536*2];
static void drop(conn*c){ if(mode==2&&c->slot>=0){ conn*o=sl[c->slot][--sn[c->slot]]; sl[c->slot][c->spos]=o; o->spos=c->spos; } close(c->fd); free(c); }
static void rd(conn*c){
  memcpy(big,c->b,c->len); ssize_t r=recv(c->fd,big+c->len,65536,0); if(r<=0){ if(r<0&&errno==EAGAIN) return; drop(c); return; }
  if(mode==1){ if(send(c->fd,big,r,MSG_NOSIGNAL)<0) drop(c); return; }
  int n=c->len+r,o=0; while(n-o>=3){ int k=big[o],L=big[o+1]<<8|big[o+2]; if(n-o<3+L) break; if(k==0){ drop(c); return; }
    if(mode==0&&k>=0x10&&k<=0x18){ if(send(c->fd,big+o,3+L,MSG_NOSIGNAL)<0&&errno!=EAGAIN){ drop(c); return; } } o+=3+L; }
  c->len=n-o; if(c->len>2048){ drop(c); return; } memcpy(c->b,big+o,c->len); }
int main(int ac,char**av){ int port=atoi(av[1]); mode=!strcmp(av[2],"echo")?0:!strcmp(av[2],"bytes")?1:2; if(ac>3) slots=atoi(av[3]); signal(SIGPIPE,SIG_IGN);
  struct rlimit rl={65536,65536}; setrlimit(RLIMIT_NOFILE,&rl); frame[0]=0x10; frame[1]=1; frame[2]=0x40; for(int i=3;i<323;i++) frame[i]=i;
  int ls=socket(AF_INET,SOCK_STREAM|SOCK_NONBLOCK,0),one=1; setsockopt(ls,SOL_SOCKET,SO_REUSEADDR,&one,4); struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(port)}; inet_pton(AF_INET,"127.0.0.1",&a.sin_addr); if(bind(ls,(void*)&a,sizeof a)){perror("bind");return 1;} listen(ls,4096);
  ep=epoll_create1(0); struct epoll_event e={.events=EPOLLIN,.data.ptr=NULL}; epoll_ctl(ep,EPOLL_CTL_ADD,ls,&e); int tf=-1; long step=20000000/slots; uint64_t k=0;
  if(mode==2){ tf=timerfd_create(CLOCK_MONOTONIC,TFD_NONBLOCK); struct timespec t; clock_gettime(CLOCK_MONOTONIC,&t); struct itimerspec it={{0,step},{t.tv_sec+1,0}}; timerfd_settime(tf,TFD_TIMER_ABSTIME,&it,NULL); e.data.ptr=&tf; epoll_ctl(ep,EPOLL_CTL_ADD,tf,&e); }
  int rr=0; struct epoll_event E[256];
  for(;;){ int n=epoll_wait(ep,E,256,-1); for(int i=0;i<n;i++){ void*p=E[i].data.ptr;
      if(!p){ int f; while((f=accept4(ls,NULL,NULL,SOCK_NONBLOCK))>=0){ setsockopt(f,IPPROTO_TCP,TCP_NODELAY,&one,4); conn*c=malloc(sizeof*c); c->fd=f; c->len=0; c->slot=-1; if(mode==2){ int s=rr++%slots; if(sn[s]==sc[s]){ sc[s]=sc[s]?sc[s]*2:64; sl[s]=realloc(sl[s],sc[s]*sizeof(conn*)); } c->slot=s; c->spos=sn[s]; sl[s][sn[s]++]=c; } struct epoll_event x={.events=EPOLLIN,.data.ptr=c}; epoll_ctl(ep,EPOLL_CTL_ADD,f,&x); } }
      else if(p==&tf){ uint64_t v; if(read(tf,&v,8)==8) for(;v;v--){ int s=k++%slots; for(int j=0;j<sn[s];j++) send(sl[s][j]->fd,frame,323,MSG_NOSIGNAL|MSG_DONTWAIT); } }
      else rd(p); } } }
