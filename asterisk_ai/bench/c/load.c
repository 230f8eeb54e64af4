// load - AudioSocket load generator / measuring instrument (single thread, epoll).
// cc -O2 -Wall -o load load.c -lm
//
// Timing method: frames are sent on an absolute 20 ms schedule per call (random phase per call on
// a quantum grid).  Arrival times are KERNEL receive timestamps (SO_TIMESTAMPNS on the TCP socket),
// so the generator may sleep between quanta and drain sockets lazily without hurting accuracy.
// --eager: wake on each arrival and use user-space time stamps instead (cross-check).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FR 320
#define PERIOD 20000000LL
#define RING 1024            // outstanding frames tracked per call (20.48 s)
typedef int64_t i64; typedef uint64_t u64;

static i64 now_c(clockid_t c){ struct timespec t; clock_gettime(c,&t); return t.tv_sec*1000000000LL+t.tv_nsec; }
#define MONO() now_c(CLOCK_MONOTONIC)
#define REAL() now_c(CLOCK_REALTIME)

// ---------- log-linear histogram (ns), 128 sub-buckets per octave: <0.8 % error
#define HSUB 128
typedef struct { u64 c[64*HSUB]; u64 n; double sum; i64 max,min; } hist;
static void h_add(hist*h,i64 v){ if(v<0)v=0; int b; if(v<HSUB) b=v; else { int e=63-__builtin_clzll(v)-7; b=(e+1)*HSUB+((v>>e)-HSUB);} h->c[b]++; h->n++; h->sum+=v; if(v>h->max)h->max=v; if(h->n==1||v<h->min)h->min=v; }
static double h_q(hist*h,double q){ if(!h->n) return -1; u64 t=(u64)ceil(q*h->n); if(t<1)t=1; u64 a=0; for(int b=0;b<64*HSUB;b++){ a+=h->c[b]; if(a>=t){ if(b<HSUB) return b; int e=b/HSUB-1; i64 v=(((i64)(b%HSUB)+HSUB)<<e)+((1LL<<e)>>1); return v>h->max?h->max:v; } } return h->max; }

// ---------- options
static const char*host="127.0.0.1"; static int port=9092,N=1; static double dur=10,ramp=-1,warm=1.0,grace=1.0;
static int mode=0; /*0 echo 1 play 2 talk*/ static int srvpid=0,children=0,srvcpu=-1,eager=0,nagle=0; static long quantum=250000;
static const char*infile=NULL,*outprefix=NULL,*label="",*dtmf=NULL; static unsigned seed=1; static int loopin=0,raw_echo=0; static int kind=0x10, flen=FR;

typedef struct {
  int fd; int state; /*0 none 1 connecting 2 up 3 dead*/ i64 phase; i64 t_open; u64 nsent; u64 k0; /*schedule index of first frame*/
  uint8_t *rb; int rcap, rlen; int want_out; uint8_t pend[2][1]; uint8_t*pbuf; int plen;
  i64 *ts; uint8_t *seen; u64 nrecv; i64 last_arr; i64 *arr; int narr,carr; size_t inpos; FILE*fraw,*fidx; i64 first_audio; int dtmf_done;
} call;
static call*C; static hist H_lat,H_lag,H_ia,H_jit,H_grid; static u64 sent_tot,recv_tot,sent_w,recv_w,foreign,corrupt,dups,blocked,closed_early,conn_fail,frag,msgs_rx,other_msgs,gaps40,bursts5; 
static uint8_t*in_data; static size_t in_len; static int ep; static i64 real_off; // REAL-MONO
static i64 W0,W1; static volatile int stop_flag; static void on_sig(int s){ (void)s; stop_flag=1; }
static uint8_t tmpl[3+65536];

// ---------- server process sampling
typedef struct { double cpu_ms,ut_ms,st_ms; long rss,pss,threads,procs,nvcs,vcs; } psamp;
static void one_pid(int pid,psamp*s){
  char p[64],buf[4096]; snprintf(p,64,"/proc/%d/stat",pid); FILE*f=fopen(p,"r"); if(!f) return; size_t n=fread(buf,1,sizeof buf-1,f); fclose(f); buf[n]=0;
  char*q=strrchr(buf,')'); if(!q) return; unsigned long ut=0,st=0; long th=0; sscanf(q+2,"%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %ld",&ut,&st,&th);
  double tk=1000.0/sysconf(_SC_CLK_TCK); s->ut_ms+=ut*tk; s->st_ms+=st*tk; s->threads+=th; s->procs++;
  clockid_t ck; struct timespec t; if(clock_getcpuclockid(pid,&ck)==0&&clock_gettime(ck,&t)==0) s->cpu_ms+=t.tv_sec*1e3+t.tv_nsec/1e6;
  char ln[256]; long v; snprintf(p,64,"/proc/%d/status",pid); f=fopen(p,"r"); if(f){ while(fgets(ln,256,f)) { if(sscanf(ln,"VmRSS: %ld",&v)==1) s->rss+=v; else if(sscanf(ln,"voluntary_ctxt_switches: %ld",&v)==1) s->vcs+=v; else if(sscanf(ln,"nonvoluntary_ctxt_switches: %ld",&v)==1) s->nvcs+=v; } fclose(f);} }
static void pss_pid(int pid,psamp*s){ char p[64],ln[256]; long v; snprintf(p,64,"/proc/%d/smaps_rollup",pid); FILE*f=fopen(p,"r"); if(f){ while(fgets(ln,256,f)) if(sscanf(ln,"Pss: %ld",&v)==1){ s->pss+=v; break; } fclose(f);} }
static int kids(int root,int*out,int max){ int np=0; static int pids[8192],pp[8192]; DIR*d=opendir("/proc"); struct dirent*e; while(d&&(e=readdir(d))&&np<8192) if(isdigit(e->d_name[0])){ char p[300],b[1024]; snprintf(p,300,"/proc/%s/stat",e->d_name); FILE*f=fopen(p,"r"); if(!f)continue; size_t n=fread(b,1,1023,f); fclose(f); b[n]=0; char*q=strrchr(b,')'); int par=0; if(q&&sscanf(q+2,"%*c %d",&par)==1){ pids[np]=atoi(e->d_name); pp[np++]=par; } } if(d)closedir(d);
  int n=0; out[n++]=root; for(int i=0;i<n&&n<max;i++) for(int j=0;j<np&&n<max;j++) if(pp[j]==out[i]) out[n++]=pids[j]; return n; }
static psamp psample(int with_pss){ psamp s={0}; if(!srvpid) return s; int l[256],n=1; l[0]=srvpid; if(children) n=kids(srvpid,l,256); for(int i=0;i<n;i++){ one_pid(l[i],&s); if(with_pss) pss_pid(l[i],&s);} return s; }
typedef struct { double busy,total,steal; } csamp;
static csamp cpusample(int c){ csamp r={0}; if(c<0) return r; char ln[512],key[16]; snprintf(key,16,"cpu%d ",c); FILE*f=fopen("/proc/stat","r"); while(f&&fgets(ln,512,f)) if(!strncmp(ln,key,strlen(key))){ double v[8]={0}; sscanf(ln+strlen(key),"%lf %lf %lf %lf %lf %lf %lf %lf",v,v+1,v+2,v+3,v+4,v+5,v+6,v+7); for(int i=0;i<8;i++) r.total+=v[i]; r.busy=r.total-v[3]-v[4]; r.steal=v[7]; } if(f)fclose(f); return r; }
static double self_ms(void){ return now_c(CLOCK_PROCESS_CPUTIME_ID)/1e6; }

// ---------- calls
static void ev(call*c,uint32_t e,int op){ struct epoll_event x={.events=e,.data.u32=(uint32_t)(c-C)}; epoll_ctl(ep,op,c->fd,&x); }
static void dead(call*c,int early){ if(c->state==3) return; if(c->fd>=0){ close(c->fd); c->fd=-1; } c->state=3; if(early) closed_early++; }
static void c_open(call*c){
  c->fd=socket(AF_INET,SOCK_STREAM|SOCK_NONBLOCK,0); int one=1; if(!nagle) setsockopt(c->fd,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one);
  if(!eager) setsockopt(c->fd,SOL_SOCKET,SO_TIMESTAMPNS,&one,sizeof one);
  struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(port)}; inet_pton(AF_INET,host,&a.sin_addr);
  c->t_open=MONO(); int r=connect(c->fd,(void*)&a,sizeof a); if(r<0&&errno!=EINPROGRESS){ conn_fail++; c->state=3; close(c->fd); c->fd=-1; return; }
  c->state=1; ev(c,EPOLLIN|EPOLLOUT,EPOLL_CTL_ADD); }
static int xsend(call*c,const uint8_t*b,int n){ // keeps stream framing on partial writes; returns 0 if frame could not be queued at all
  if(c->plen){ ssize_t r=send(c->fd,c->pbuf,c->plen,MSG_NOSIGNAL); if(r>0){ memmove(c->pbuf,c->pbuf+r,c->plen-r); c->plen-=r; } if(c->plen){ blocked++; return 0; } }
  ssize_t r=send(c->fd,b,n,MSG_NOSIGNAL); if(r==n) return 1; if(r<0){ if(errno==EAGAIN){ blocked++; return 0; } dead(c,1); return 0; }
  if(!c->pbuf) { c->pbuf=malloc(70000); }
  memcpy(c->pbuf,b+r,n-r); c->plen=n-r; return 1; }
static void c_up(call*c){ c->state=2; ev(c,EPOLLIN,EPOLL_CTL_MOD); uint8_t u[19]={1,0,16}; for(int i=0;i<16;i++) u[3+i]=rand(); u[9]=(u[9]&0x0f)|0x40; u[11]=(u[11]&0x3f)|0x80; xsend(c,u,19); }
static void send_frame(call*c,i64 due){
  uint8_t*b=tmpl; int n=3+flen; int idx=c-C;
  if(mode==0){ uint32_t s=(uint32_t)c->nsent, id=(uint32_t)idx^0xA50C0DE5u; memcpy(b+3,&s,4); memcpy(b+7,&id,4); }
  else if(in_data){ size_t left=in_len-c->inpos; if(left==0&&loopin){ c->inpos=0; left=in_len; } size_t k=left<(size_t)flen?left:(size_t)flen; memcpy(b+3,in_data+c->inpos,k); memset(b+3+k,0,flen-k); c->inpos+=k; }
  else memset(b+3,0,flen);
  i64 t=REAL(); i64 lag=t-real_off-due; if(due>=W0&&due<W1) h_add(&H_lag,lag);
  if(mode==0){ int r=c->nsent%RING; c->ts[r]=t; c->seen[r]=(due>=W0&&due<W1)?1:2; }
  if(xsend(c,b,n)){ c->nsent++; sent_tot++; if(due>=W0&&due<W1) sent_w++; } else if(mode==0) c->seen[c->nsent%RING]=0;
}
static void got_audio(call*c,const uint8_t*p,int len,i64 tr){
  i64 tm=tr-real_off; // monotonic
  if(!c->first_audio) c->first_audio=tm;
  if(mode==0){
    for(int o=0;o+8<=len;o+=flen){ uint32_t s,id; memcpy(&s,p+o,4); memcpy(&id,p+o+4,4);
      if(id!=((uint32_t)(c-C)^0xA50C0DE5u) || s>=c->nsent || c->nsent-s>RING){ foreign++; continue; }
      int r=s%RING; if(!c->seen[r]){ dups++; continue; }
      if(o+flen<=len && memcmp(p+o+8,tmpl+11,flen-8)) corrupt++;
      recv_tot++; c->nrecv++; if(c->seen[r]==1){ recv_w++; h_add(&H_lat,tr-c->ts[r]); } c->seen[r]=0; }
  } else {
    int nf=len/flen; if(nf<1) nf=1; recv_tot+=nf;
    if(tm>=W0&&tm<W1) for(int i=0;i<nf;i++){ recv_w++; if(c->narr==c->carr){ c->carr=c->carr?c->carr*2:1024; c->arr=realloc(c->arr,c->carr*sizeof(i64)); } c->arr[c->narr++]=tm; }
    if(mode==2&&c->fraw){ fwrite(p,1,len,c->fraw); fprintf(c->fidx,"%.6f %d\n",(tm-c->t_open)/1e9,len); }
  }
}
static void rd(call*c){
  for(;;){
    if(c->rcap-c->rlen<2048){ c->rcap=c->rcap?c->rcap*2:4096; c->rb=realloc(c->rb,c->rcap); }
    int room=c->rcap-c->rlen; ssize_t r; i64 t;
    if(eager){ r=recv(c->fd,c->rb+c->rlen,room,0); t=REAL(); }
    else { char cb[256]; struct iovec iv={c->rb+c->rlen,room}; struct msghdr m={.msg_iov=&iv,.msg_iovlen=1,.msg_control=cb,.msg_controllen=sizeof cb}; r=recvmsg(c->fd,&m,0); t=0; for(struct cmsghdr*h=CMSG_FIRSTHDR(&m);r>0&&h;h=CMSG_NXTHDR(&m,h)) if(h->cmsg_level==SOL_SOCKET&&h->cmsg_type==SCM_TIMESTAMPNS){ struct timespec ts; memcpy(&ts,CMSG_DATA(h),sizeof ts); t=ts.tv_sec*1000000000LL+ts.tv_nsec; } if(!t) t=REAL(); }
    if(r<0){ if(errno==EAGAIN||errno==EINTR) return; dead(c,1); return; } if(r==0){ dead(c,1); return; }
    c->rlen+=r; int o=0;
    while(c->rlen-o>=3){ int k=c->rb[o], L=c->rb[o+1]<<8|c->rb[o+2]; if(c->rlen-o<3+L) break; msgs_rx++;
      if(k>=0x10&&k<=0x18) got_audio(c,c->rb+o+3,L,t); else if(k==0){ other_msgs++; } else other_msgs++; o+=3+L; }
    if(o<c->rlen) frag++;
    if(o){ memmove(c->rb,c->rb+o,c->rlen-o); c->rlen-=o; }
    if(r<room) return;
  } }

static void load_input(const char*f){ FILE*fp=fopen(f,"rb"); if(!fp){ perror(f); exit(2);} fseek(fp,0,SEEK_END); long n=ftell(fp); rewind(fp); uint8_t*d=malloc(n); if(fread(d,1,n,fp)!=(size_t)n) exit(2); fclose(fp);
  if(n>44&&!memcmp(d,"RIFF",4)){ long p=12; while(p+8<=n){ uint32_t L; memcpy(&L,d+p+4,4); if(!memcmp(d+p,"data",4)){ if(p+8+L>n) L=n-p-8; in_data=d+p+8; in_len=L; return; } p+=8+L+(L&1);} exit(2);} in_data=d; in_len=n; }
static int cmpi(const void*a,const void*b){ i64 x=*(i64*)a,y=*(i64*)b; return x<y?-1:x>y; }
static int cmpd(const void*a,const void*b){ double x=*(double*)a,y=*(double*)b; return x<y?-1:x>y; }
static int cmpphase(const void*a,const void*b){ const call*x=a,*y=b; return x->phase<y->phase?-1:x->phase>y->phase; }

int main(int ac,char**av){
  static struct option lo[]={{"host",1,0,'H'},{"port",1,0,'p'},{"calls",1,0,'n'},{"dur",1,0,'d'},{"ramp",1,0,'r'},{"warm",1,0,'w'},{"grace",1,0,'g'},{"mode",1,0,'m'},{"pid",1,0,'P'},{"children",0,0,'c'},{"cpu",1,0,'C'},{"quantum-us",1,0,'q'},{"eager",0,0,'e'},{"nagle",0,0,'N'},{"in",1,0,'i'},{"loop",0,0,'L'},{"out",1,0,'o'},{"seed",1,0,'s'},{"label",1,0,'l'},{"dtmf",1,0,'D'},{"flen",1,0,'f'},{"kind",1,0,'k'},{0}};
  int o; while((o=getopt_long(ac,av,"",lo,NULL))!=-1) switch(o){ case 'H':host=optarg;break; case 'p':port=atoi(optarg);break; case 'n':N=atoi(optarg);break; case 'd':dur=atof(optarg);break; case 'r':ramp=atof(optarg);break; case 'w':warm=atof(optarg);break; case 'g':grace=atof(optarg);break;
    case 'm':mode=!strcmp(optarg,"echo")?0:!strcmp(optarg,"play")?1:2;break; case 'P':srvpid=atoi(optarg);break; case 'c':children=1;break; case 'C':srvcpu=atoi(optarg);break; case 'q':quantum=atol(optarg)*1000;break; case 'e':eager=1;break; case 'N':nagle=1;break; case 'i':infile=optarg;break; case 'L':loopin=1;break; case 'o':outprefix=optarg;break; case 's':seed=atoi(optarg);break; case 'l':label=optarg;break; case 'D':dtmf=optarg;break; case 'f':flen=atoi(optarg);break; case 'k':kind=strtol(optarg,0,0);break;
    default: fprintf(stderr,"usage: load --port P --calls N --dur S --mode echo|play|talk [--ramp S --warm S --grace S --pid PID --children --cpu SRVCPU --quantum-us U --eager --nagle --in F(.wav|.slin) --loop --out PREFIX --dtmf SEC:DIGIT --flen 320 --kind 0x10 --seed K --label L]\n"); return 2; }
  if(ramp<0) ramp=N/400.0; if(quantum<1000) quantum=1000;
  if(mode==2&&!outprefix){ fprintf(stderr,"talk needs --out\n"); return 2; } if(infile) load_input(infile);
  double dt_at=-1; char dt_d=0; if(dtmf){ dt_at=atof(dtmf); char*q=strchr(dtmf,':'); if(q) dt_d=q[1]; }
  struct rlimit rl={65536,65536}; setrlimit(RLIMIT_NOFILE,&rl); signal(SIGPIPE,SIG_IGN); signal(SIGINT,on_sig); signal(SIGTERM,on_sig);
  prctl(PR_SET_TIMERSLACK,1,0,0,0); struct sched_param sp={.sched_priority=10}; int rt=sched_setscheduler(0,SCHED_FIFO,&sp)==0; mlockall(MCL_CURRENT);
  srand(seed); ep=epoll_create1(0); C=calloc(N,sizeof(call)); tmpl[0]=kind; tmpl[1]=flen>>8; tmpl[2]=flen; for(int i=0;i<flen;i++) tmpl[3+i]=(uint8_t)(i*7+13);
  for(int i=0;i<N;i++){ C[i].fd=-1; C[i].phase=((i64)(rand()/(RAND_MAX+1.0)*PERIOD))/quantum*quantum; }
  qsort(C,N,sizeof(call),cmpphase); // calls sorted by phase => a single rotating pointer is the schedule
  for(int i=0;i<N;i++){ call*c=&C[i]; if(mode==0){ c->ts=malloc(RING*sizeof(i64)); c->seen=calloc(RING,1);} else if(mode==1){ c->carr=(int)(dur*55)+64; c->arr=malloc(c->carr*sizeof(i64)); memset(c->arr,0,c->carr*sizeof(i64)); }
    if(mode==2){ char p[512]; snprintf(p,512,"%s.%d.slin",outprefix,i); c->fraw=fopen(p,"wb"); snprintf(p,512,"%s.%d.idx",outprefix,i); c->fidx=fopen(p,"w"); if(!c->fraw||!c->fidx){ perror(p); return 2; } } }
  // open order: random permutation, so that ramp is independent from phase
  int*perm=malloc(N*sizeof(int)); for(int i=0;i<N;i++) perm[i]=i; for(int i=N-1;i>0;i--){ int j=rand()%(i+1); int t=perm[i]; perm[i]=perm[j]; perm[j]=t; }
  psamp s_idle=psample(1),s0={0},s1={0}; csamp c0={0},c1={0},g0={0},g1={0}; double self0=0,self1=0; int gencpu=sched_getcpu();
  real_off=REAL()-MONO();
  i64 T0=(MONO()/quantum+8)*quantum; // grid origin
  W0=T0+(i64)((ramp+warm)*1e9); W1=W0+(i64)(dur*1e9); i64 END=W1+(i64)(grace*1e9); int opened=0,phase_st=0; u64 cyc=0; int ptr=0; int all_up_late=0; double lat_open_max=0;
  struct epoll_event E[512]; i64 tick=T0;
  while(!stop_flag){
    i64 t=MONO();
    if(!eager){ if(tick>t){ struct timespec ts={tick/1000000000LL,tick%1000000000LL}; clock_nanosleep(CLOCK_MONOTONIC,TIMER_ABSTIME,&ts,NULL); t=MONO(); } }
    if(phase_st==0&&t>=W0){ phase_st=1; int up=0; for(int i=0;i<N;i++) up+=C[i].state==2; if(up<N){ all_up_late++; if(all_up_late<=40){ i64 sh=250000000; W0+=sh; W1+=sh; END+=sh; phase_st=0; goto sends; } } s0=psample(0); c0=cpusample(srvcpu); g0=cpusample(gencpu); self0=self_ms(); real_off=REAL()-MONO(); }
    if(phase_st==1&&t>=W1){ phase_st=2; self1=self_ms(); s1=psample(0); c1=cpusample(srvcpu); g1=cpusample(gencpu); psamp q=psample(1); s1.pss=q.pss; }
    if(t>=END) break;
sends:
    // sends due: rotate over phases
    for(;;){ call*c=&C[ptr]; i64 due=T0+(i64)cyc*PERIOD+c->phase; if(due>t) break; if(c->state==2&&t<W1+ (mode==2?(i64)(grace*1e9):0)){ send_frame(c,due); if(dt_d&&!c->dtmf_done&&c->state==2&&t-c->t_open>=dt_at*1e9){ uint8_t d[4]={3,0,1,(uint8_t)dt_d}; xsend(c,d,4); c->dtmf_done=1; } } if(++ptr==N){ ptr=0; cyc++; } }
    // opens due (at most 4 per pass)
    for(int k=0;k<4&&opened<N&&t>=T0+(i64)(ramp*1e9*opened/N);k++) c_open(&C[perm[opened++]]);
    // receives
    i64 nd=T0+(i64)cyc*PERIOD+C[ptr].phase; if(opened<N){ i64 no=T0+(i64)(ramp*1e9*opened/N); if(no<nd) nd=no; } if(nd>END) nd=END; if(phase_st==0&&W0<nd)nd=W0; if(phase_st==1&&W1<nd)nd=W1;
    int n; if(eager){ i64 w=nd-MONO(); if(w<0)w=0; struct timespec ts={w/1000000000LL,w%1000000000LL}; n=epoll_pwait2(ep,E,512,&ts,NULL); } else n=epoll_wait(ep,E,512,0);
    for(int i=0;i<n;i++){ call*c=&C[E[i].data.u32]; if(c->state==3) continue;
      if(c->state==1){ int er=0; socklen_t l=sizeof er; getsockopt(c->fd,SOL_SOCKET,SO_ERROR,&er,&l); if(er){ conn_fail++; close(c->fd); c->fd=-1; c->state=3; continue; } double d=(MONO()-c->t_open)/1e6; if(d>lat_open_max) lat_open_max=d; c_up(c); continue; }
      if(E[i].events&(EPOLLIN|EPOLLHUP|EPOLLERR|EPOLLRDHUP)) rd(c); }
    if(!eager){ t=MONO(); tick=(t/quantum+1)*quantum; }
  }
  if(phase_st<2){ s1=psample(1); self1=self_ms(); }
  for(int i=0;i<N;i++){ call*c=&C[i]; if(c->state==2){ uint8_t h[3]={0,0,0}; send(c->fd,h,3,MSG_NOSIGNAL|MSG_DONTWAIT); close(c->fd);} if(c->fraw){ fclose(c->fraw); fclose(c->fidx);} }
  double win=(W1-W0)/1e9, cs=win*N;
  printf("{\"label\":\"%s\",\"mode\":\"%s\",\"n\":%d,\"window_s\":%.2f",label,mode==0?"echo":mode==1?"play":"talk",N,win);
  printf(",\"sent\":%lu,\"recv\":%lu,\"conn_fail\":%lu,\"closed_early\":%lu,\"blocked\":%lu,\"conn_ms_max\":%.1f",sent_w,recv_w,conn_fail,closed_early,blocked,lat_open_max);
  if(mode==0){ printf(",\"lost\":%ld,\"foreign\":%lu,\"dups\":%lu,\"corrupt\":%lu",(long)(sent_w-recv_w),foreign,dups,corrupt);
    printf(",\"lat_us\":{\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f,\"min\":%.1f}",H_lat.n?H_lat.sum/H_lat.n/1e3:-1,h_q(&H_lat,.5)/1e3,h_q(&H_lat,.9)/1e3,h_q(&H_lat,.99)/1e3,h_q(&H_lat,.999)/1e3,H_lat.max/1e3,H_lat.min/1e3); }
  if(mode>=1){ double*means=malloc(N*sizeof(double)); int nm=0; double worst_rate=0; u64 exp_tot=0,got=0,under=0; hist*H_call=calloc(1,sizeof(hist));
    for(int i=0;i<N;i++){ call*c=&C[i]; exp_tot+=(u64)(win*50); got+=c->narr; if(c->narr<10) continue; int n=c->narr; i64*a=c->arr;
      for(int k=1;k<n;k++){ i64 d=a[k]-a[k-1]; h_add(&H_ia,d); if(d>40000000) gaps40++; if(d<5000000) bursts5++; }
      double mi=(double)(a[n-1]-a[0])/(n-1); means[nm++]=mi; double rate=fabs(mi-PERIOD)/PERIOD; if(rate>worst_rate) worst_rate=rate;
      // (1) fitted schedule: least squares offset+slope; (2) ideal grid: slope fixed 20 ms, offset = median residual
      double sx=0,sy=0,sxx=0,sxy=0; for(int k=0;k<n;k++){ double y=a[k]-a[0]; sx+=k; sy+=y; sxx+=(double)k*k; sxy+=k*y; } double b=(n*sxy-sx*sy)/(n*sxx-sx*sx),a0=(sy-b*sx)/n; double worst=0;
      i64*res=malloc(n*sizeof(i64)); for(int k=0;k<n;k++) res[k]=a[k]-a[0]-(i64)k*PERIOD; i64*so=malloc(n*sizeof(i64)); memcpy(so,res,n*sizeof(i64)); qsort(so,n,sizeof(i64),cmpi); i64 med=so[n/2];
      for(int k=0;k<n;k++){ double d=fabs((a[k]-a[0])-(a0+b*k)); h_add(&H_jit,(i64)d); if(d>worst) worst=d; h_add(&H_grid,llabs(res[k]-med)); }
      // playout model: client starts playing first frame with a 20 ms cushion; each later frame is late if it misses its slot -> underrun, clock then slips
      i64 play=a[0]+PERIOD; for(int k=1;k<n;k++){ play+=PERIOD; if(a[k]>play){ under++; play=a[k]+PERIOD; } }
      h_add(H_call,(i64)worst); free(res); free(so); }
    qsort(means,nm,sizeof(double),cmpd); double ms=0; for(int i=0;i<nm;i++) ms+=means[i];
    printf(",\"expected\":%lu,\"got\":%lu,\"ia_mean_ms\":%.4f,\"ia_mean_worst_call_dev_pct\":%.3f",exp_tot,got,nm?ms/nm/1e6:-1,worst_rate*100);
    printf(",\"ia_ms\":{\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f,\"min\":%.3f}",h_q(&H_ia,.5)/1e6,h_q(&H_ia,.99)/1e6,h_q(&H_ia,.999)/1e6,H_ia.max/1e6,H_ia.min/1e6);
    printf(",\"jitter_us\":{\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}",h_q(&H_jit,.5)/1e3,h_q(&H_jit,.99)/1e3,h_q(&H_jit,.999)/1e3,H_jit.max/1e3);
    printf(",\"grid20_us\":{\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}",h_q(&H_grid,.5)/1e3,h_q(&H_grid,.99)/1e3,h_q(&H_grid,.999)/1e3,H_grid.max/1e3);
    printf(",\"gaps40\":%lu,\"bursts5\":%lu,\"underruns\":%lu,\"percall_worst_us_p50\":%.1f",gaps40,bursts5,under,h_q(H_call,.5)/1e3); }
  printf(",\"send_lag_us\":{\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f}",h_q(&H_lag,.5)/1e3,h_q(&H_lag,.99)/1e3,H_lag.max/1e3);
  printf(",\"gen_cpu_pct\":%.2f,\"gen_us_per_frame\":%.2f,\"rt\":%d,\"eager\":%d,\"quantum_us\":%ld",(self1-self0)/win/10,sent_w?(self1-self0)*1e3/sent_w:-1,rt,eager,quantum/1000);
  if(srvpid){ printf(",\"srv\":{\"cpu_ms_per_call_s\":%.4f,\"cpu_us_per_frame\":%.2f,\"cpu_pct\":%.2f,\"user_ms\":%.0f,\"sys_ms\":%.0f,\"rss0_kb\":%ld,\"rss1_kb\":%ld,\"pss0_kb\":%ld,\"pss1_kb\":%ld,\"rss_per_call_kb\":%.1f,\"threads\":%ld,\"procs\":%ld,\"vcs_per_s\":%.0f,\"nvcs_per_s\":%.0f}",
     (s1.cpu_ms-s0.cpu_ms)/cs,(s1.cpu_ms-s0.cpu_ms)*1e3/(cs*50),(s1.cpu_ms-s0.cpu_ms)/win/10,s1.ut_ms-s0.ut_ms,s1.st_ms-s0.st_ms,s_idle.rss,s1.rss,s_idle.pss,s1.pss,(double)(s1.rss-s_idle.rss)/N,s1.threads,s1.procs,(s1.vcs-s0.vcs)/win,(s1.nvcs-s0.nvcs)/win); }
  if(srvcpu>=0) printf(",\"srvcpu_tick_busy_pct\":%.1f,\"srvcpu_steal_pct\":%.2f",100*(c1.busy-c0.busy)/fmax(1,c1.total-c0.total),100*(c1.steal-c0.steal)/fmax(1,c1.total-c0.total));
  printf(",\"rx_msgs\":%lu,\"rx_other\":%lu,\"rx_frag\":%lu}\n",msgs_rx,other_msgs,frag);
  return 0;
}
