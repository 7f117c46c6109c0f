"""Writes small data files in the layouts of the published data sets."""

import base64
import gzip
import pickle
import zlib

import h5py
import numpy as np


def idx_bytes(array):
    """An idx file of unsigned bytes, as the format's description says."""
    header = bytes([0, 0, 8, array.ndim])
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + sizes + array.tobytes()


def write_cochlea(path, times, units, labels, *, precision=np.float16, **extra):
    """A file in the layout of SHD; ``extra`` are the datasets of its group ``extra``."""
    with h5py.File(path, "w") as file:
        for name, rows, dtype in (("times", times, precision), ("units", units, np.uint16)):
            made = file.create_dataset(f"spikes/{name}", len(rows), h5py.vlen_dtype(dtype))
            for sample, row in enumerate(rows):
                made[sample] = np.array(row, dtype)
        file["labels"] = np.array(labels, np.uint16)
        for name, values in extra.items():
            file[f"extra/{name}"] = values


def write_spoken(path, classes, samples=4, speakers=(0, 1, 1, 0)):
    write_cochlea(
        path,
        [[0.001 * (sample + 1), 1.5] for sample in range(samples)],
        [[sample, 699] for sample in range(samples)],
        [sample % classes for sample in range(samples)],
        speaker=np.array(speakers, np.uint16 if isinstance(speakers[0], int) else "S"),
        keys=np.array([f"word {label}" for label in range(classes)], "S"),
    )


def touched(*events):
    """The events of one sample as published: 12 taxels of an ON and an OFF list, in s."""
    taxels = [[[], []] for _ in range(12)]
    for time, taxel, off in events:
        taxels[taxel][off].append(time)
    return taxels


TOUCHES = [
    ("Space", touched((0.5, 11, 1), (0.025, 0, 0), (0.05, 0, 0))),
    ("Z", touched()),
    ("A", touched((0.25, 3, 0), (0.25, 3, 1), (0.1, 7, 1))),
]


SPIKES = [[(25.0, 0), (50.0, 0), (500.0, 23)], [], [(100.0, 15), (250.0, 6), (250.0, 7)]]


# The same table, with a third column of numbers, as versions of pandas pickle it.
FRAMES = {
    "1.2.5": (
        "c-pm8PiqrF6wjaCSgS<}mbRCI2Q|4Y7JBGG2pTcyVuX4V!tyqG%`9#<%g$_Tz=9r9TbNs)2mJ<q1iyu#;I-dG-"
        "^?bEY9$vPlFZAzdGGyx^ZvYbKAbxxyYy-bNgt%w8)fM2XD~$4S090b$5uY0#ydKqx^{x$AS1mse?3YRW(ma78$"
        "tpD%p~dS593kq)wAM%VP5aD{l-PZKE6ijg&;ZHa**I*@Wh<4fw-pKnQR0184T&QBp;^Z!hD#=DuOJ7F~<us?2Q"
        "tsvb?9*M7#DP=_?%0UO6MbG@({Gr1!K(b-(OaCnVOi+gIb%Fw~XjyL5U|Xsf#XhB}?j)1SQTkKa@jo*E9d7!@;"
        "S#2KcjA{C7i(ltE5L`g!vrk%vRS|>kdXJSQfUdB3uWMF9TnSG9`XmqqI6=aGLYe%Y4N{ojEWT9+*BI6J@#k!#+"
        "HfMyG(lLoGU5PFbx&IrHk|EOCs1~U&O-rEUPIqGUpS~;B_bvMX?u!(9488o4zYnNuQ_G)r^P^p#+Re{}z&O$B{"
        "{7x=o)>rlafaakMOz%B-TXSmGcPY@@uhevSd73_mQDPMxMAvK^^yvh6gd)iz+|y8tH8e+RHg=Xaa-KQIU79UlD"
        "_9{?|9oq{{h!5iDg|2O=nA!b#q=jfH*grUA@GkAz&r9|5BJo+?)xEu8gCe=`UMEWfM3zV7`f#_%43<CExKY_7r"
        "nzdne$A<mqD?em04MAu6yFpvxXXDV{L~V6Y#<z>4b-$D>0T^z)SCfx;k$5MxOvG7r694QA<?"
    ),
    "1.3.5": (
        "c-pm8Pm9w)6i?cwYu#nR1+j{Fl<uV<A_xjaS1cNgu-=3cCdq3POeSG6ab0jh4_kL(ZaxM527Uwe?7^cS!Ed5(C"
        "JlCFp%)#Jyf=UHd%rjHe)GzC_pM`@rp^_NN30x%xq#tRunbW3?lH;k8~-hCzs3U`sE(h_1ga~`%M&g^aF&+CjB"
        "z#tQKH(oo95xOM|GcmSG{S)Lz(9(O|BJ8$b_YO{PO8Yf&QJA_BibMrbCMlaTf>i=Jo-q4v&%y-B#&I4Ad5{vSP"
        "o+AQwauqFVQ-BF}<qIyDRi@B4MGR(oL=xm(V{qH+ul*+}jeI&0NRZsPIL8y(nfEBiKjp7-z<HS=*TitgHOdydN"
        "9K}pNhnV?EinQ$WSlxY%b7+TVDZH+RgH(rl7|D+OcHCdcr$|9=>g9*Wi&4w=^%y}tA6-q*j`)ZB$%uEutb%;B5"
        "fHg-Qh}guJRO|5x<}d$ZKB9=n6FO1nNx_JuvY*m>2WhB&#-k6WeH@QI)ecM$%-p}X<I&Ih3>ZMe;QvKi9b-KDv"
        "EZ}pug>C2y;E#81EBqnuez4oaa&Dc%=PZ8{z*kd@B&B=tfVtK>uWhY&||s|J}am3jW#3FE5_I2>$)c58%;&Dsd"
        "LMmbvFe`3L_u^1;|7uIY-rn=fGu&ni2_1>)oqNp?*~tPa`83pJ_I`+AcAOzk5{klEh6_sXC?13#8g32gtDvCg="
        "}cBP1|Vw`SbjHhu<@nG_}@9VR8+Bc$}MKTX-pxEENO=6j_dRRsx)N$^t^0Np4@Wfcs616IQ2j{"
    ),
    "2.3.3": (
        "c-pm8&1w`u5T4oHNz???2r*uA6E~Of>Oojy#6<^Jh&N$rdS+{PhRpN~-95&D0X<|*pl_CfzJVa#1s}pk@J+P3X"
        "BRgj>_wZIuIiuq`s?bddKJ7o>3FW0s}&a`uEM005RN4;0L{hwT=NG`e~UY>@ff?N!-|PSv%R=I6B?x8xe5y|_y"
        "nXvvwklxlY__2n9R-Q%!1`vtbUuIxy))&WywJfEVedw^EFWy)ltYCJn0~_1kD;7%d&{;@z_Cj-)}YKz4lDbF5?"
        "9=i6(GBBuDzFvez)J><*rtzQKL$Ms4HY#lc|k=qEMTMV`hu@}u??jlYMQwwViYo#i?c#5GWPmRK0t(u#bG618l"
        "fu9?k6&P7cYTuM%7uQLfrDU_CVqRBSBVpho&Zjq3@6WsG-Y#3QsIy>DkttaPrzWjq{k9eL9=|O_06(>r@e@6c<"
        "(p2;Hdmmi;*zbL66c{47wSO=By&sLoIl!F3|2u8@8U5b(8J|Uc`7ORSp5n_H0Qo=Nj=ZST1VGbIt^du|`Q#YE3"
        "s7Oq6}{3WCg6}gv~xBRKAT{!yW|>C!eM$dy=9{!-I>Qkn+CVtYp>*>DRT%&LIpb0St-!0z;h5<p(SNH!Y1sXp4"
        "zbdVs8A6jO1cs+3Z`nz##oLpcvO&YKlwKQM#;<qK_0H#dnxsJE{YeP*fr;<9WGY1!(TBFr-xBT2mo7CU$I`^NC"
        "Zh^E@vP6&uwRB@)-bavlR!fm2n-;V<XV%gF"
    ),
    "3.1.1": (
        "c-pm8&2G~`5RQ{L(3T&eic*QHa6t-}TzcsN6!k|$G{Q*j4XIkKok?ufUR(B>HWC$Z=%2JV1|)a`9)TC&%#|Cjz"
        ">OQsu5FsYp%+*s*~!k#&Ns93%`5xuL%U{{Y9(9@c!p|blS}?6<q_Z;y#E>xv8|dc8l|X~3!9D?r_c$6gjDb_>q"
        "K1e5v1gMWj&0&y(h(ga#stb2MYr?J9j~Ko#i44yuA>Zt9`Wb{FE_IQ$8lkCB~BR!MVA!xu!Mi+}neJcDq`-RSt"
        "7IG7ZGYSdo6~PV0NqIl*o8Yn5(OjuV|8Wj&UDEU@?TM^T4kvQrBpkCJhRnLMLBl!3XM@?$A@vB+eads6$`#uC*"
        "fLQux**N$+*a#2TY_pN^82>m5x52}#$r>l5&T4)=}dV!APZ2hEVe)?UB?%6KY+}=sJ2dJ!P^j$-s^J8??Wj7B9"
        "kf22EEDSs_At{cfuk6=NqI3Rje^~?Z?^ZAf$T9kDef958ulwGt554ZkLV#Taqx<)JulubiF$bs+{J&@y$LMvxl"
        "z1lPi?jGtREl4WKtGwkLY1#iKaQH8>@Sib4Ls^wHcaEl&4)w7o%XxM0#nT@_j<WE${qcCsvb;r(}O>{sYVcrr&"
        "rbnN*#WM;4~%youF>F#c6I2-~h6Y%QNc0StekgJ=SN0i&$h=vY8D7niuF_^KVQr?WVslMXA60QPaY7qiTg9X)X"
        "{M;W-FNjoqS}xO7tWd{gLY<mBe2&jet0n~M=lpzyysL<h-JNn}vXOvVXPJxBl&EaM4=+f7D9q$#IS56zTQGb{q"
        "hO&YtzDlR3>vO|Kwh9Msr@fHumct2x<JR#0;2`uC;&>%a_a<}sfrN#~1"
    ),
}


def pickled(content, protocol=4):
    return pickle.dumps(content, protocol)


def rows(touches=TOUCHES):
    return [{"letter": letter, "events": events} for letter, events in touches]


def object_array(values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


BRAILLE_FORMS = {
    "rows": pickled(rows()),
    "rows, protocol 2": pickled(rows(), 2),
    "columns": pickled({"letter": [t[0] for t in TOUCHES], "events": [t[1] for t in TOUCHES]}),
    "arrays": pickled(
        {"letter": object_array([t[0] for t in TOUCHES]), "events": [t[1] for t in TOUCHES]}
    ),
    "packed": gzip.compress(pickled(rows())),
} | {f"pandas {version}": zlib.decompress(base64.b85decode(s)) for version, s in FRAMES.items()}

GOOD_LETTERS = {"times": [1.0], "units": [23], "offsets": [0, 1], "labels": [26]}
"""The arrays of one letter as convert_braille writes them."""


# -- time series --------------------------------------------------------------------------


def ts_text(samples=None, labels=("b", "a"), header=(), classes="true a b"):
    """A .ts file; samples are lists of channels, each a list of values or of words."""
    if samples is None:
        samples = [[[1.0, 2.0, 3.0], [-1.0, 0.5, 0.25]], [[4.0], [5.0]]]
    lines = [
        "# a comment",
        "@problemName Small",
        "@timeStamps false",
        *header,
        f"@classLabel {classes}",
        "@data",
    ]
    for sample, label in zip(samples, labels, strict=True):
        channels = [",".join(map(str, channel)) for channel in sample]
        lines.append(":".join([*channels, label]))
    return "\n".join(lines) + "\n"
