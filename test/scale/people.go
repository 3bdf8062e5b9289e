package scale

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// script is one of the scripts that a tenant's people write their names in: given and family names with a romanised
// spelling for addresses, and how many of a hundred people use it.
type script struct {
	share         int
	given, family []name
	places        []string
}

type name struct{ written, roman string }

// names reads "written=roman" pairs; a word alone is its own romanisation.
func names(list string) (out []name) {
	for _, w := range strings.Fields(list) {
		written, roman, ok := strings.Cut(w, "=")
		if !ok {
			roman = written
		}
		out = append(out, name{written, roman})
	}
	return out
}

var scripts = []script{
	{30, names("Anna James Maria Peter Laura Michael Sarah Thomas Emma Daniel Julia David Sophie Martin Lisa Paul Clara Mark Nina Robert Elena Simon Eva Lukas Marta Oliver Ines Felix Alice Hugo Rosa Victor Petra Leo Irene Oscar Carla Adam Vera Max"),
		names("Smith Schmidt Martin Bauer Johnson Weber Rossi Meyer Brown Fischer Garcia Wagner Wilson Becker Dubois Hoffmann Taylor Costa Bernard Silva Moreau Koch Evans Richter Romano Wolf Lambert Klein Walker Neumann Ferrari Braun Hughes Vogel Fontaine Keller Cooper Marino Frank Berger"),
		[]string{"Berlin", "London", "Paris", "Milan", "Vienna", "Boston"}},
	{22, names("José=jose Zoë=zoe Łukasz=lukasz Søren=soren Françoise=francoise Jürgen=jurgen Ángel=angel Šárka=sarka Håkon=hakon Çağla=cagla Bjørn=bjorn Inês=ines Özgür=ozgur Renée=renee Žofia=zofia Ștefan=stefan Ásta=asta Noël=noel Mária=maria Dušan=dusan Đức=duc Nguyệt=nguyet"),
		names("Müller=muller Núñez=nunez Kovács=kovacs Dvořák=dvorak Lindström=lindstrom Çelik=celik Gonçalves=goncalves Wójcik=wojcik Sørensen=sorensen Ionescu Yıldız=yildiz Lefèvre=lefevre Nagy Šimek=simek Åkesson=akesson Öztürk=ozturk Peña=pena Grünwald=grunwald Bélanger=belanger Trần=tran Nguyễn=nguyen Phạm=pham"),
		[]string{"Málaga", "Kraków", "Göteborg", "İzmir", "São Paulo", "Zürich", "Hà Nội"}},
	{12, names("Анна=anna Дмитрий=dmitri Ольга=olga Сергей=sergei Наталья=natalia Иван=ivan Елена=elena Алексей=alexei Татьяна=tatiana Михаил=mikhail Ірина=iryna Олексій=oleksii"),
		names("Иванов=ivanov Смирнова=smirnova Кузнецов=kuznetsov Попова=popova Соколов=sokolov Лебедева=lebedeva Козлов=kozlov Новикова=novikova Морозов=morozov Шевченко=shevchenko Ковальчук=kovalchuk Петров=petrov"),
		[]string{"София", "Київ", "Алматы", "Београд"}},
	{4, names("Γιώργος=giorgos Μαρία=maria Ελένη=eleni Νίκος=nikos Κατερίνα=katerina Δημήτρης=dimitris"),
		names("Παπαδόπουλος=papadopoulos Οικονόμου=oikonomou Γεωργίου=georgiou Νικολάου=nikolaou Βασιλείου=vasileiou"), []string{"Αθήνα", "Θεσσαλονίκη"}},
	{6, names("محمد=mohamed فاطمة=fatima أحمد=ahmed مريم=mariam علي=ali نور=nour خالد=khaled ليلى=layla يوسف=yousef"),
		names("حداد=haddad منصور=mansour النجار=alnajjar خوري=khoury عباس=abbas الشريف=alsharif سليمان=suleiman"), []string{"القاهرة", "دبي", "عمّان"}},
	{2, names("נועה=noa דוד=david תמר=tamar יוסי=yossi שרה=sara איתי=itai"), names("כהן=cohen לוי=levi מזרחי=mizrahi פרץ=peretz ביטון=biton"), []string{"תל אביב", "חיפה"}},
	{6, names("प्रिया=priya राहुल=rahul अनीता=anita विकास=vikas सुनीता=sunita अमित=amit दीपक=deepak"), names("शर्मा=sharma वर्मा=verma गुप्ता=gupta सिंह=singh पटेल=patel यादव=yadav"), []string{"मुंबई", "दिल्ली", "पुणे"}},
	{10, names("伟=wei 芳=fang 娜=na 秀英=xiuying 敏=min 静=jing 丽=li 强=qiang 洋=yang 磊=lei 大輔=daisuke 美咲=misaki 健太=kenta 陽菜=hina"),
		names("王=wang 李=li 张=zhang 刘=liu 陈=chen 杨=yang 赵=zhao 黄=huang 田中=tanaka 佐藤=sato 鈴木=suzuki 高橋=takahashi 渡辺=watanabe"), []string{"上海", "深圳", "東京", "大阪", "台北"}},
	{4, names("민준=minjun 서연=seoyeon 지훈=jihoon 수빈=subin 현우=hyunwoo 지민=jimin"), names("김=kim 이=lee 박=park 최=choi 정=jung 강=kang"), []string{"서울", "부산"}},
	{4, names("さくら=sakura ひなた=hinata アキラ=akira ゆい=yui ケン=ken みどり=midori"), names("さとう=sato たなか=tanaka ヤマダ=yamada いとう=ito コバヤシ=kobayashi"), []string{"さいたま", "つくば"}},
}

// skewed is one of a list, early ones far more often than late ones.
func skewed[T any](r *rand.Rand, list []T) T {
	f := r.Float64()
	return list[int(f*f*f*float64(len(list)))]
}

func (s *script) person(r *rand.Rand) (given, family name) {
	given, family = skewed(r, s.given), skewed(r, s.family)
	if s.share >= 20 && r.IntN(3) == 0 { // the long tail of family names: most of them are rare
		made := invent(r.Uint64N(40_000))
		family = name{strings.ToUpper(made[:1]) + made[1:], made}
	}
	return given, family
}

func pickScript(r *rand.Rand) *script {
	n := r.IntN(100)
	for i := range scripts {
		if n -= scripts[i].share; n < 0 {
			return &scripts[i]
		}
	}
	return &scripts[0]
}

// invent is a speakable word for a number.
func invent(n uint64) string {
	var b strings.Builder
	for range 3 {
		b.WriteByte("bdfghklmnprstvwz"[n%16])
		n /= 16
		b.WriteByte("aeiou"[n%5])
		n /= 5
	}
	b.WriteByte("nrstkl"[n%6])
	return b.String()
}

var (
	trades   = []string{"Logistics", "Consulting", "Energy", "Software", "Bakery", "Clinic", "Media", "Robotics", "Textil", "Immobilien", "Conseil", "Строй", "電機", "物流", "산업", "للتجارة", "Gıda", "Estúdio"}
	forms    = []string{"GmbH", "Ltd", "Inc", "SA", "AB", "Kft", "株式会社", "ООО", ""}
	freemail = []string{"gmail.example", "outlook.example", "yahoo.example", "mail.example", "qq.example", "web.example"}
	sources  = []string{"website", "Google Ads", "newsletter", "referral", "trade fair", "webinar", "partner", "LinkedIn", "cold call", "import 2024", "Messe Köln", "展会"}
	statuses = []string{"working", "unqualified", "nurturing", "qualified", "converted", "lost"}
	reasons  = []string{"opened three mails in a week", "visited the pricing page", "company size fits", "asked for a demo", "downloaded the buyer's guide"}
	remarks  = []string{"Called; asks for an offer next week.", "Left a message on the answering machine.", "Möchte erst im Frühjahr entscheiden.", "担当者に資料を送付済み。", "Decision is made together with their partner in Lyon."}
	dialling = []string{"+49 170 %07d", "+44 7400 %06d", "+33 6 %02d 34 56 78", "+1 212 555 %04d", "+91 98765 %05d", "+81 90 1234 %04d", "+48 512 %06d", "+34 612 %06d", "030 %07d"}
)

// company is the n-th company of a tenant: its name and its domain.
func company(n uint64) (written, domain string) {
	made := invent(n * 2_654_435_761 % 1_000_003)
	trade, form := trades[n%uint64(len(trades))], forms[n/7%uint64(len(forms))]
	written = strings.TrimSpace(strings.ToUpper(made[:1]) + made[1:] + " " + trade + " " + form)
	return written, fmt.Sprintf("%s-%d.example", made, n)
}
